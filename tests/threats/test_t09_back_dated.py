"""T9: a thief of an old key signs now, and writes an earlier time into what he signs.

The key is rotated away, expired or revoked; its published validity says so. What the thief signs verifies as a
signature. It counts for nothing without a time that he cannot have set, and what was signed in the key's life counts
with one.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.life import Keys
from signerd.errors import Refusal
from signerd.sealer.key_spec import KeySpec
from signerd.sealer.publish import publication
from signerd.verification.keys import PublicKey
from signerd.verification.validity import check_signing_time, read_validities
from signerd_key_file.backend import FileBackend

DAY_MS = 86_400_000
MESSAGE = b"DSSEv1 28 application/vnd.in-toto+json 31 signed on the day before it all"


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Keys]:
    made = Keys(tmp_path, KeySpec("file:a", "local", "soft", "file", max_age_ms=365 * DAY_MS))
    made.done("generate", algorithm="Ed25519")
    yield made
    made.close()


def days(keys: Keys, number: int) -> int:
    keys.clock.move(number * 86_400)
    return keys.clock.now_ms()


def stolen(keys: Keys) -> None:
    """The thief has the file of the first version, and signs with it now: the signature is a good one."""
    signed = FileBackend({"directory": str(keys.folder / "keys")}).sign("file:a", MESSAGE)
    PublicKey.from_spki(keys.life.versions("file:a")[0].spki).verify(signed.signature, MESSAGE)
    assert signed.keyid == keys.life.versions("file:a")[0].keyid


def verdict(keys: Keys, signed_at: int | None) -> str:
    """What a verifier says who has the published files, the signature, and a trusted time or none."""
    stolen(keys)
    now = keys.clock.now_ms()
    files = publication(keys.life.versions(), now)
    validity = read_validities(files["jwks.json"], files["revocations.json"])
    try:
        check_signing_time(validity[keys.life.versions("file:a")[0].keyid], now, signed_at)
    except Refusal as refusal:
        return f"{refusal.code} {refusal.reason}"
    return "valid"


ENDS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "rotated": ("rotate", {}, "retired"),
    "retired": ("retire", {}, "retired"),
    "revoked": ("revoke", {"cause": "superseded"}, "revoked"),
}


@pytest.mark.parametrize("end", sorted(ENDS))
def test_after_its_end_an_old_key_proves_nothing_by_itself(keys: Keys, end: str) -> None:
    operation, fields, reason = ENDS[end]
    alive = days(keys, 10)
    assert verdict(keys, None) == "valid"
    days(keys, 10)
    keys.done(operation, **fields)
    ended = keys.clock.now_ms()
    days(keys, 1)
    assert verdict(keys, None) == "verification.failed no_trusted_time"
    assert verdict(keys, ended) == f"verification.failed {reason}"
    assert verdict(keys, alive) == "valid"


def test_a_key_that_has_grown_too_old_proves_nothing_by_itself(keys: Keys) -> None:
    alive = days(keys, 364)
    assert verdict(keys, None) == "valid"
    days(keys, 1)
    assert verdict(keys, None) == "verification.failed no_trusted_time"
    assert verdict(keys, keys.clock.now_ms()) == "verification.failed expired"
    assert verdict(keys, alive) == "valid"


def test_what_a_compromised_key_made_since_is_void_whatever_time_is_proved(keys: Keys) -> None:
    before = days(keys, 10)
    since = days(keys, 1)
    between = days(keys, 5)
    days(keys, 5)
    keys.done("revoke", cause="compromised", invalid_since=since)
    assert verdict(keys, None) == "verification.failed no_trusted_time"
    assert verdict(keys, between) == "verification.failed revoked"
    assert verdict(keys, since) == "verification.failed revoked"
    assert verdict(keys, before) == "valid"


def test_no_time_before_the_key_was_added_is_believed(keys: Keys) -> None:
    added = keys.life.versions("file:a")[0].added_at
    days(keys, 1)
    assert verdict(keys, added - 1) == "verification.failed not_yet_valid"
