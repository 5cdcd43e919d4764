import json

import pytest

from signerd.errors import Refusal
from signerd.verification.validity import KeyValidity, check_signing_time, read_validities

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
