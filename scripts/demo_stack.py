"""The Sigstore stack of scripts/demo --keyless, and the configuration of a daemon that signs by it.

    demo_stack.py missing                  prints the outside parts that are not here
    demo_stack.py serve FOLDER RELEASE     serves until SIGTERM, or until whoever started it has ended

FOLDER then holds the parts' files, signerd.toml, token (an OIDC token), identity and issuer (whom the certificate will
name), and, written last, ready. The folder must be its owner's alone: keys and token lie in it.
"""

import datetime
import os
import signal
import sys
import time
from pathlib import Path

from outside.parts import find
from running.oidc import EMAIL
from running.server import ServerError
from running.stack import NEEDS, SigstoreStack, sigstore_stack

__all__ = ["configuration", "main", "missing"]


def missing() -> list[str]:
    """The outside parts that the stack is made of and that are not in the cache."""
    return [name for name in NEEDS if find(name) is None]


def configuration(stack: SigstoreStack, release: str) -> str:
    """TOML of a daemon with one key, ``fulcio:ci``: no lasting key, and no signature without a log entry or a stamp.

    ``release`` is the digest that the release check lets through. Under ``[trust]`` are the same parts, as those who
    verify are to believe them.
    """
    since = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    chain, stamps = stack.fulcio.authority.chain, stack.tsa.authority.chain
    trusted = f'ca = "{chain}"\nct_log_keys = ["{stack.ct_log.public_key}"]'
    issuers = f'issuers = ["{stack.issuer.url()}"]'
    plugins = "".join(
        f'[plugins.{name}]\ncertificate = "none"\n'
        for name in ("auth-peercred", "entitlement-file", "predicates-intoto", "predicates-stella")
    )
    return f"""{plugins}
[plugins.release-allowlist]
certificate = "none"
releases = [{{ digest = "{release}" }}]

[tenants.local]
keys = ["fulcio:ci"]
[keys."fulcio:ci"]
backend = "fulcio"
tenant = "local"
[keys."fulcio:ci".keyless]
{trusted}
{issuers}
[backends.fulcio]
certificate = "none"
scheme = "fulcio"
kind = "network"
[backends.fulcio.settings]
url = "{stack.fulcio.url}"
{trusted}
[backends.fulcio.settings.keys.ci]
token = "request"
{issuers}

[publishers.rekor]
plugin = "log-rekor"
kind = "log"
certificate = "none"
needed = true
[publishers.rekor.settings]
shards = [{{ url = "{stack.rekor.url}", public_key = "{stack.rekor.public_key}" }}]
[publishers.tsa]
plugin = "stamp-rfc3161"
kind = "stamp"
certificate = "none"
[publishers.tsa.settings]
url = "{stack.tsa.url}"
chain = "{stamps}"

[trust]
operator = "demo"
oidc = [{{ url = "{stack.issuer.url()}", since = {since} }}]
fulcio = [{{ url = "{stack.fulcio.url}", chain = "{chain}", since = {since} }}]
ct_logs = [{{ url = "{stack.ct_log.url}", key = "{stack.ct_log.public_key}", since = {since} }}]
tsa = [{{ url = "{stack.tsa.url}", chain = "{stamps}", since = {since} }}]
[[trust.rekor]]
url = "{stack.rekor.url}"
key = "{stack.rekor.public_key}"
origin = "{stack.rekor.origin}"
since = {since}
"""


def _serve(folder: Path, release: str) -> None:
    parent = os.getppid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the parts are ended on the way out
    with sigstore_stack(folder) as stack:
        told = {
            "signerd.toml": configuration(stack, release),
            "token": stack.issuer.token(),
            "identity": EMAIL,
            "issuer": stack.issuer.url(),
            "ready": "",
        }
        for name, text in told.items():
            (folder / name).write_text(text)
        while os.getppid() == parent:
            time.sleep(0.5)


def main(arguments: list[str]) -> int:
    """Run one of the two; 1, with its log, where a part does not start."""
    match arguments:
        case ["missing"]:
            print(*missing())
        case ["serve", folder, release]:
            try:
                _serve(Path(folder), release)
            except ServerError as error:
                print(error, file=sys.stderr)
                return 1
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
