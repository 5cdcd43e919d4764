"""Large CycloneDX documents for the tests, and the Statement that must be signed for one."""

import json
from typing import Any

import rfc8785

from running.client import ARTEFACT, SBOM_TYPE

__all__ = ["large_sbom", "statement_of"]


def large_sbom(size: int) -> bytes:
    """A valid document of at least ``size`` bytes whose canonical form is another: order, spaces, escapes."""
    components: list[str] = []
    length = 0
    while length < size:
        number = len(components)
        component = {
            "version": f"{number}.0",
            "type": "library",
            "name": f"bücherei-{number}",
            "bom-ref": f"ref-{number}",
            "description": f"it says “{number}”\t\u0007" + "x" * 150,
        }
        # Escaped and with spaces, as some generators write it.
        components.append(json.dumps(component, ensure_ascii=bool(number % 2)))
        length += len(components[-1].encode()) + 2
    text = '{ "version": 1, "specVersion": "1.6", "components": [%s], "bomFormat": "CycloneDX" }'
    return (text % ", ".join(components)).encode()


def statement_of(document: bytes, name: str = "artefact") -> bytes:
    """The Statement by RFC 8785's reference implementation in Python."""
    statement: dict[str, Any] = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": ARTEFACT}}],
        "predicateType": SBOM_TYPE,
        "predicate": json.loads(document),
    }
    canonical: bytes = rfc8785.dumps(statement)
    return canonical
