"""The types of this plugin, and what each of them needs."""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final, Literal, cast

from signerd.contracts.violation import CompiledSchema, refuse_invalid

__all__ = ["NAMES", "PAYLOAD_TYPES", "BareStellaType", "StellaType", "UriForm", "predicate_types"]

RESOURCES: Final = "signerd_predicates_stella"
UriForm = Literal["uri", "alias"]
"""What stands in ``predicateType``: an absolute URI (in-toto TypeURI), or the bare name that some compare."""

NAMES: Final = {
    "sbom": "stella-sbom",
    "vex": "stella-vex",
    "report": "report",
    "promotion": "promotion",
    "replay": "replay",
}
"""The short name of each type; bare ``sbom`` and ``vex`` would promise the document itself."""
EXEMPT: Final = frozenset({"promotion"})
"""Types that no scanner makes: a promotion is the pipeline's own word about documents attested before."""


PAYLOAD_TYPES: Final = {"replay": "application/vnd.stellaops.replay+json"}
"""Types whose documents are signed bare too, and under which payload type: a manifest is a file of its own."""


@dataclass(slots=True, eq=False)
class StellaType:
    """One stella predicate type (contract ``PredicateType``)."""

    name: str
    uri: str
    names: tuple[str, ...]
    needs_release: bool
    needs_policy: bool
    heavy: bool = False

    def check(self, document: dict[str, object]) -> None:
        """Refuse with ``predicate.invalid`` a document without the fields that its schema requires."""
        refuse_invalid(f"stella {self.name} predicate", _compiled(self.name), document)

    def policy(self, document: dict[str, object]) -> tuple[str, str] | None:
        """Return the digest and view set that a report states; None for the other types."""
        stated = document.get("policy") if self.needs_policy else None
        if not isinstance(stated, dict):
            return None
        digest, view_set = stated.get("digest"), stated.get("viewSet")
        return (digest, view_set) if isinstance(digest, str) and isinstance(view_set, str) else None


@dataclass(slots=True, eq=False)
class BareStellaType(StellaType):
    """One whose documents may be signed bare (contract ``PayloadType``), judged by the same schema."""

    payload_type: str = ""


def predicate_types(form: UriForm) -> list[StellaType]:
    """Return the catalogue. Both forms of a URI are accepted on input, whichever stands on the wire."""
    types: list[StellaType] = []
    for name, short in NAMES.items():
        uri, alias = f"https://stella-ops.org/attestations/{name}/v1", f"stella.ops/{name}@v1"
        wire, other = (uri, alias) if form == "uri" else (alias, uri)
        needs = (name not in EXEMPT, name == "report")
        if name in PAYLOAD_TYPES:
            types.append(BareStellaType(name, wire, (short, other), *needs, payload_type=PAYLOAD_TYPES[name]))
        else:
            types.append(StellaType(name, wire, (short, other), *needs))
    return types


@cache
def _compiled(name: str) -> CompiledSchema:
    # Slow to import, so at the first document. The engine of RegexOptions runs in linear time; the retriever
    # keeps a ``$ref`` from leaving the package.
    import jsonschema_rs

    schema = json.loads(resources.files(RESOURCES).joinpath("data", f"{name}.json").read_bytes())
    validator = jsonschema_rs.validator_for(
        schema,
        validate_formats=True,
        retriever=_nothing_else,
        pattern_options=jsonschema_rs.RegexOptions(),
        mask="the value",
    )
    return cast("CompiledSchema", validator)


def _nothing_else(uri: str) -> Any:
    raise ValueError(f"a schema refers to {uri}, outside its package")
