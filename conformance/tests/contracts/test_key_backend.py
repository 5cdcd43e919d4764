from collections.abc import Sequence
from pathlib import Path

import pytest

from fakes.contracts import failing, plugin
from fakes.flawed_worker import Flawed
from signerd_conformance.contracts import KeyBackendContract

DESCRIBED, ANOTHER, SIGNED, DIGEST, ABSENT, NOT_ONE, DECLARED, GENERATED, ROTATED = (
    "a_description_is_of_one_key",
    "another_instance_describes_the_same_keys",
    "signatures_verify_and_name_their_key",
    "what_is_no_digest_is_not_signed_for_one",
    "a_key_that_is_not_there_is_not_found",
    "a_reference_that_is_none_is_refused",
    "capabilities_are_declared_and_there",
    "a_key_is_generated_once_and_never_overwritten",
    "a_rotated_key_stays_and_the_new_one_has_a_name_of_its_own",
)


class Contract(KeyBackendContract):
    scheme = "x"

    def keys(self) -> Sequence[str]:
        return ["x:given", "x:given-es256"]

    def free(self) -> tuple[str, str] | None:
        return "x:new", "Ed25519"


@pytest.mark.parametrize(
    ("flaw", "failed"),
    [
        ("none", set()),
        ("algorithm", {DESCRIBED, SIGNED, GENERATED, ROTATED}),
        ("keyid", {DESCRIBED, SIGNED, ROTATED}),
        ("spki", {DESCRIBED, SIGNED}),
        ("prehash", {DESCRIBED, SIGNED, DIGEST}),
        ("hashes_again", {SIGNED}),
        ("raw", {SIGNED}),
        ("empty", {SIGNED}),
        ("short", {SIGNED}),
        ("takes_anything", {DIGEST}),
        ("any_key", {ABSENT, NOT_ONE, GENERATED, ROTATED}),
        ("other_code", {ABSENT, ROTATED}),
        ("capability", {DECLARED}),
        ("other_algorithm", {GENERATED, ROTATED}),
        ("forgets", {GENERATED, ROTATED}),
        ("keeps_the_name", {ROTATED}),
        ("overwrites", {GENERATED, ROTATED}),
    ],
)
def test_key_backends(flaw: str, failed: set[str], tmp_path: Path) -> None:
    def introduce(settings: dict[str, object]) -> object:
        if settings:
            raise ValueError("no settings")
        return Flawed(flaw, tmp_path)

    assert failing(Contract, plugin("signerd_key_backends", introduce)) == failed


def test_what_is_generated_must_be_named(tmp_path: Path) -> None:
    class Silent(Contract):
        def free(self) -> tuple[str, str] | None:
            return None

    def introduce(settings: dict[str, object]) -> object:
        if settings:
            raise ValueError("no settings")
        return Flawed("none", tmp_path)

    assert failing(Silent, plugin("signerd_key_backends", introduce)) == {DECLARED}
