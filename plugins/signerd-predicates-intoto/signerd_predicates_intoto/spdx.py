"""SPDX 2.2, 2.3 and 3.0.1 in JSON.

2.x has schemas of our own, written from the specification's model; 3.0 is JSON-LD, whose context names the
version, and is checked by the model of the official bindings (:mod:`signerd_predicates_intoto.spdx3`).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from signerd.contracts.violation import invalid
from signerd_predicates_intoto.schema import Check, schema_check
from signerd_predicates_intoto.spdx3 import check_spdx3

__all__ = ["SPDX_2", "check_spdx", "check_spdx2"]

SPDX_2: Final[Mapping[str, Check]] = MappingProxyType(
    {
        f"SPDX-{version}": schema_check(f"SPDX {version} document", f"spdx-{version}")
        for version in ("2.2", "2.3")
    }
)
"""The check of each ``spdxVersion``."""


def check_spdx(document: dict[str, object]) -> None:
    """Refuse what is not an SPDX document of the version that it states.

    A 2.x document states it in ``spdxVersion``, a 3.0 document in ``@context``; one that states both is a 2.x
    document, whose schema refuses ``@context``.
    """
    if "spdxVersion" not in document and "@context" in document:
        check_spdx3(document)
    else:
        check_spdx2(document)


def check_spdx2(document: dict[str, object]) -> None:
    """Refuse what is not an SPDX 2.2 or 2.3 document."""
    version = document.get("spdxVersion")
    check = SPDX_2.get(version) if isinstance(version, str) else None
    if check is None:
        text = "its version is not SPDX-2.2, SPDX-2.3 or the @context of SPDX 3.0.1"
        raise invalid("SPDX document", ["spdxVersion"], "version_unsupported", text)
    check(document)
