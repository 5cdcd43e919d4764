import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from signerd.errors import Refusal
from signerd.verification.checks import Check, Verification
from signerd.verification.validity import KeyValidity, check_signing_time, read_validities, within_validity

ALIVE = KeyValidity(1000)
AGED = KeyValidity(1000, expires_at=5000)
ROTATED = KeyValidity(1000, expires_at=5000, retire_at=3000)
REVOKED = KeyValidity(1000, expires_at=5000, revoked_at=3000, cause="superseded")
STOLEN = KeyValidity(1000, expires_at=5000, revoked_at=3000, cause="compromised", invalid_since=2000)


@pytest.mark.parametrize(
    ("validity", "now", "signed_at"),
    [
        (ALIVE, 1000, None),
        (ALIVE, 9000, 1000),
        (AGED, 4999, None),
        (AGED, 9000, 4999),
        (ROTATED, 2999, None),
        (ROTATED, 9000, 2999),
        (REVOKED, 9000, 2999),
        (STOLEN, 9000, 1999),
    ],
)
def test_made_while_the_key_was_valid(validity: KeyValidity, now: int, signed_at: int | None) -> None:
    check_signing_time(validity, now, signed_at)


@pytest.mark.parametrize(
    ("validity", "now", "signed_at", "reason"),
    [
        (ALIVE, 999, None, "not_yet_valid"),
        (ALIVE, 9000, 999, "not_yet_valid"),
        (AGED, 5000, None, "no_trusted_time"),
        (AGED, 9000, 5000, "expired"),
        (ROTATED, 3000, None, "no_trusted_time"),
        (ROTATED, 9000, 3000, "retired"),
        (REVOKED, 3000, None, "no_trusted_time"),
        (REVOKED, 9000, 3000, "revoked"),
        (STOLEN, 2500, None, "no_trusted_time"),
        (STOLEN, 9000, 2000, "revoked"),
        (KeyValidity(1000, revoked_at=3000, cause="compromised"), 9000, 1500, "revoked"),
        (KeyValidity(1000, revoked_at=3000, cause="compromised"), 9000, None, "revoked"),
        (KeyValidity(1000, expires_at=4000, revoked_at=5000), 9000, 4500, "expired"),
    ],
)
def test_made_when_it_was_not(validity: KeyValidity, now: int, signed_at: int | None, reason: str) -> None:
    with pytest.raises(Refusal) as caught:
        check_signing_time(validity, now, signed_at)
    assert (caught.value.code, caught.value.reason) == ("verification.failed", reason)


def test_the_revocations_decide_as_they_may_be_newer() -> None:
    jwks = {"keys": [{"kid": "sha256:1", "added_at": 1000, "kty": "EC"}, {"kid": "sha256:2", "added_at": 1, "x": 0}]}
    revoked = {"keyid": "sha256:1", "revoked_at": 3000, "cause": "compromised", "invalid_since": 2000, "version": 1}
    found = read_validities(json.dumps(jwks).encode(), json.dumps({"revoked": [revoked]}).encode())
    assert found == {
        "sha256:1": KeyValidity(1000, revoked_at=3000, cause="compromised", invalid_since=2000),
        "sha256:2": KeyValidity(1),
    }


@pytest.mark.parametrize("bad", [b"", b"[]", b'{"keys":[{"kid":"x"}]}', b"\xff", b'{"keys":' + b"[" * 100_000])
def test_another_document_is_refused(bad: bytes) -> None:
    for jwks, revocations in ((bad, b'{"revoked":[]}'), (b'{"keys":[]}', bad)):
        with pytest.raises(Refusal) as caught:
            read_validities(jwks, revocations)
        assert (caught.value.code, caught.value.reason) == ("request.malformed", "publication")


GOOD = Verification(True, (Check("signature", "passed", "it verifies"),), keyid="sha256:a", statement=b"{}")


def at(*milliseconds: int) -> tuple[datetime, ...]:
    return tuple([datetime.fromtimestamp(each / 1000, UTC) for each in milliseconds])


@pytest.mark.parametrize(
    ("validity", "now", "times"),
    [(ALIVE, 9000, ()), (ROTATED, 2999, ()), (ROTATED, 9000, (2000,)), (STOLEN, 9000, (4000, 1999))],
)
def test_a_key_that_was_valid_adds_a_check_and_takes_nothing(
    validity: KeyValidity, now: int, times: tuple[int, ...]
) -> None:
    before = replace(GOOD, times=at(*times))
    found = within_validity(before, {"sha256:a": validity}, now)
    assert found == replace(before, checks=found.checks)
    assert [(check.name, check.outcome) for check in found.checks] == [("signature", "passed"), ("validity", "passed")]


@pytest.mark.parametrize(
    ("keyid", "now", "times", "reason"),
    [
        ("sha256:a", 9000, (), "no_trusted_time"),
        ("sha256:a", 9000, (2000, 4000), "revoked"),
        ("sha256:b", 9000, (1500,), "key_not_published"),
    ],
)
def test_one_that_was_not_is_no_verification_and_passes_nothing_on(
    keyid: str, now: int, times: tuple[int, ...], reason: str
) -> None:
    found = within_validity(replace(GOOD, keyid=keyid, times=at(*times)), {"sha256:a": STOLEN}, now)
    assert not found.verified
    assert found.failure is not None
    assert (found.failure.name, found.failure.reason) == ("validity", reason)
    assert (found.statement, found.keyid, found.times) == (None, None, ())


def test_what_did_not_verify_stays_as_it_is() -> None:
    refused = Verification(False, (Check("signature", "failed", "no", "signature"),))
    assert within_validity(refused, {}, 9000) is refused
