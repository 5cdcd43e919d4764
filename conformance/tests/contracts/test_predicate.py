from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from fakes.contracts import failing, plugin
from signerd.errors import Refusal
from signerd_conformance.contracts import PredicateContract

URI = "https://example.com/made-up/v1"
NAMES, NEEDS, PAYLOAD, PASSES, REFUSED, POLICY = (
    "every_type_has_a_uri_and_names_of_its_own",
    "every_type_says_what_it_needs",
    "a_payload_type_is_a_media_type_of_its_own",
    "a_document_of_the_type_passes_and_is_left_as_it_was",
    "a_document_that_is_not_of_the_type_is_refused",
    "a_policy_is_two_texts_or_none",
)


class Contract(PredicateContract):
    def documents(self) -> Mapping[str, dict[str, object]]:
        return {"made-up": {"result": "passed"}}


@dataclass
class Kind:
    """A predicate type; each argument is a way to be wrong."""

    uri: str = URI
    names: tuple[str, ...] = ("made-up",)
    needs_release: object = False
    needs_policy: bool = False
    heavy: bool = False
    says: object = None
    code: str | None = "predicate.invalid"
    pointer: str | None = ""
    stated: object = None
    alters: bool = False

    def check(self, document: dict[str, object]) -> object:
        if "result" not in document and self.code is not None:
            details = {} if self.pointer is None else {"pointer": self.pointer}
            raise Refusal(self.code, "schema", "no", details=details)
        if self.alters:
            document["seen"] = True
        return self.says

    def policy(self, document: dict[str, object]) -> object:
        return self.stated


@dataclass
class Bare(Kind):
    """A predicate type whose documents are signed bare."""

    payload_type: object = "application/vnd.example+json"


SECOND = (f"{URI}.1", ("other",))


@pytest.mark.parametrize(
    ("kinds", "failed"),
    [
        ([Kind()], set()),
        ([Kind(stated=("sha256:0", "all"), pointer="/result")], set()),
        ([Kind(), Kind(uri=f"{URI}.1", names=("made-up", "other"))], {NAMES, PASSES, REFUSED, POLICY}),
        ([Kind(uri="made-up/v1")], {NAMES}),
        ([Kind(needs_release=1)], {NEEDS}),
        ([Kind(says=True)], {PASSES}),
        ([Kind(alters=True)], {PASSES}),
        ([Kind(code=None)], {REFUSED}),
        ([Kind(code="statement.invalid")], {REFUSED}),
        ([Kind(pointer=None)], {REFUSED}),
        ([Kind(pointer="result")], {REFUSED}),
        ([Kind(stated="sha256:0")], {POLICY}),
        ([Kind(stated=("sha256:0", None))], {POLICY}),
        ([Bare(), Kind(*SECOND)], set()),
        ([Bare(payload_type="not a media type")], {PAYLOAD}),
        ([Bare(payload_type=None)], {PAYLOAD}),
        ([Bare(payload_type="application/vnd.in-toto+json")], {PAYLOAD}),
        ([Bare(), Bare(*SECOND)], {PAYLOAD}),
        ([], {NAMES, NEEDS, PAYLOAD, PASSES, REFUSED, POLICY}),
        ([object()], {NAMES, NEEDS, PAYLOAD, PASSES, REFUSED, POLICY}),
    ],
)  # fmt: skip
def test_predicate_types(kinds: list[object], failed: set[str]) -> None:
    def introduce(settings: dict[str, object]) -> object:
        if settings:
            raise ValueError("no settings")
        return kinds

    assert failing(Contract, plugin("signerd_predicates", introduce)) == failed
