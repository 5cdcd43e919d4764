"""What kind of document is this? The predicate type that ``sign sbom``, ``sign vex`` and ``sign report`` take
from it.

Only the marks that each specification makes compulsory are looked at. Whether the document is valid is the
daemon's question, not this one's.
"""

from typing import Final, Literal

import msgspec

from signerd.errors import Refusal

__all__ = ["Kind", "detect_type"]

Kind = Literal["sbom", "vex", "report"]

_SPDX_CONTEXT: Final = "https://spdx.org/rdf/3."
_OPENVEX_CONTEXT: Final = "https://openvex.dev/ns"


class _Mark(msgspec.Struct):
    """The fields that tell document types apart; each of any JSON type, for the document is not trusted."""

    bom_format: object = msgspec.field(default=None, name="bomFormat")  # CycloneDX 1.x
    spdx_version: object = msgspec.field(default=None, name="spdxVersion")  # SPDX 2.x, clause 6.1
    context: object = msgspec.field(default=None, name="@context")  # SPDX 3.0.1 and OpenVEX 0.2.0 are JSON-LD
    report: object = None
    policy: object = None


def _contexts(mark: _Mark) -> list[str]:
    entries = mark.context if isinstance(mark.context, list) else [mark.context]
    return [entry for entry in entries if isinstance(entry, str)]


def _sbom(mark: _Mark) -> str | None:
    if mark.bom_format == "CycloneDX":
        return "cyclonedx"
    if isinstance(mark.spdx_version, str) and mark.spdx_version.startswith("SPDX-2."):
        return "spdx"
    return "spdx" if any(entry.startswith(_SPDX_CONTEXT) for entry in _contexts(mark)) else None


def _vex(mark: _Mark) -> str | None:
    for entry in _contexts(mark):
        if entry == _OPENVEX_CONTEXT or entry.startswith(_OPENVEX_CONTEXT + "/"):
            return "openvex"
    return None


def _report(mark: _Mark) -> str | None:
    report, policy = mark.report, mark.policy
    if not isinstance(report, dict) or not isinstance(policy, dict):
        return None
    return (
        "report" if {"format", "digest"} <= report.keys() and {"digest", "viewSet"} <= policy.keys() else None
    )


_DETECTORS: Final = {"sbom": _sbom, "vex": _vex, "report": _report}
_EXPECTED: Final = {
    "sbom": "bomFormat CycloneDX, spdxVersion SPDX-2.x or an SPDX 3 @context",
    "vex": "an OpenVEX @context",
    "report": "report{format, digest} and policy{digest, viewSet}",
}


def detect_type(document: bytes, kind: Kind) -> str:
    """Return the catalogue's short name of the predicate type of ``document``, JSON text of one object.

    ``predicate.invalid`` with reason ``not_json`` for what is no JSON object, ``predicate.unsupported`` with
    reason ``not_recognised`` where no mark of the kind is found.
    """
    try:
        mark = msgspec.json.decode(document, type=_Mark)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(
            "predicate.invalid", "not_json", "the document is not the JSON text of one object"
        ) from error
    found = _DETECTORS[kind](mark)
    if found is None:
        raise Refusal(
            "predicate.unsupported", "not_recognised", f"the document has none of: {_EXPECTED[kind]}"
        )
    return found
