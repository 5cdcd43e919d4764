"""CycloneDX 1.2 to 1.7 in JSON, by the official schemas.

They come from ``cyclonedx-python-lib``, which ships them unchanged beside the schemas of SPDX licences and
JSF signatures that they refer to; nothing else can be referred to. For 1.2 and 1.3 it is the schema that the
project publishes as the format's own, not the ``strict`` variant beside it, which refuses extensions that the
format allows.
"""

import json
from functools import cache
from importlib import resources
from typing import Final, cast

from signerd.contracts.violation import CompiledSchema, invalid, refuse_invalid, shown
from signerd_predicates_intoto.schema import compile_schema

__all__ = ["VERSIONS", "check_cyclonedx"]

VERSIONS: Final = ("1.2", "1.3", "1.4", "1.5", "1.6", "1.7")
BASE: Final = "http://cyclonedx.org/schema/"
REFERRED: Final = frozenset(
    f"{name}.SNAPSHOT.schema.json" for name in ("spdx", "jsf-0.82", "cryptography-defs")
)
"""The files of the package that a CycloneDX schema may refer to."""


def check_cyclonedx(document: dict[str, object]) -> None:
    """Refuse what is not a CycloneDX document of the version that it states (``specVersion``)."""
    version = document.get("specVersion")
    if not isinstance(version, str) or version not in VERSIONS:
        said = f"its version is not one of {', '.join(VERSIONS)}"
        if isinstance(version, str):
            said += f", but {shown(version)!r}"
        raise invalid("CycloneDX document", ["specVersion"], "version_unsupported", said)
    refuse_invalid(f"CycloneDX {version} document", _compiled(version), document)


@cache
def _compiled(version: str) -> CompiledSchema:
    return compile_schema(_shipped(f"bom-{version}.SNAPSHOT.schema.json"), _referred)


def _referred(uri: str) -> dict[str, object]:
    name = uri.removeprefix(BASE)
    if name not in REFERRED:
        raise ValueError(f"a CycloneDX schema refers to {uri}, outside its package")
    return _shipped(name)


def _shipped(name: str) -> dict[str, object]:
    text = resources.files("cyclonedx").joinpath("schema", "_res", name).read_bytes()
    return cast("dict[str, object]", json.loads(text))
