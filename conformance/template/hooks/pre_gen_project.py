"""Refuses answers that would make a distribution which cannot be built, installed or configured."""

import json
import keyword
import re
import sys

ANSWERS = json.loads(r"""{{ cookiecutter | jsonify }}""")
OURS = ("signerd", "signerd-client", "signerd-conformance", "signerd-key-fido2", "signerd-key-file", "signerd-key-pkcs11")


def wrong(answers):
    """Yield a sentence for each answer that will not do."""
    name, scheme = answers["distribution"], answers["scheme"]
    package = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > 64:
        yield "distribution: a-z, 0-9 and single dashes are expected, a letter first, at most 64 characters"
    elif name in OURS or keyword.iskeyword(package) or package in sys.stdlib_module_names or package == "tests":
        yield f"distribution: {name} is taken, or its package cannot be imported under that name"
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", scheme):
        yield "scheme: a-z, 0-9 and dashes are expected, a letter first, at most 32 characters"
    elif scheme in ("file", "pkcs11"):
        yield f"scheme: {scheme} is that of a backend of signerd's own"
    for field in ("description", "author"):
        text = answers[field]
        if not text.strip() or not text.isprintable() or len(text) > 200 or set(text) & set('"\\'):
            yield f"{field}: one line of 1 to 200 characters is expected, without quotation marks and backslashes"


found = list(wrong(ANSWERS))
for sentence in found:
    print(sentence, file=sys.stderr)
sys.exit(1 if found else 0)
