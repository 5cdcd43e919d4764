"""The authority's client against one that is right, and one that is not."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio

from fakes.http_double import Reply
from fakes.publishers import AuthorityDouble
from fakes.sigstore import new_key
from signerd.errors import Fault
from signerd.verification.stamp import verify_stamp
from signerd_stamp_rfc3161.authority import TimestampAuthority
from signerd_stamp_rfc3161.settings import read_settings

SIGNATURE = b"the bytes of a signature"


@pytest.fixture
def double(tmp_path: Path) -> Iterator[AuthorityDouble]:
    made = AuthorityDouble(tmp_path)
    yield made
    made.server.close()


def stamped(double: AuthorityDouble, **settings: object) -> bytes:
    authority = TimestampAuthority(read_settings(double.settings(**settings)))
    return trio.run(authority.submit, b"", SIGNATURE, b"")


def fault(double: AuthorityDouble, **settings: object) -> str:
    with pytest.raises(Fault) as raised:
        stamped(double, **settings)
    assert raised.value.code == "transparency.unavailable"
    return raised.value.reason


def test_a_stamp_is_over_the_bytes_of_the_signature_and_of_now(double: AuthorityDouble) -> None:
    authorities = [read_settings(double.settings()).authority]
    at = verify_stamp(stamped(double), SIGNATURE, authorities)
    assert abs(at - datetime.now(UTC)) < timedelta(seconds=30)
    (asked,) = double.server.asked
    assert (asked.method, asked.headers["content-type"]) == ("POST", "application/timestamp-query")


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ({"imprint": bytes(32)}, "stamp_proof"),
        ({"nonce": b"\2\1\5"}, "stamp_proof"),
        ({"nonce": b""}, "stamp_proof"),
        ({"key": new_key()}, "stamp_proof"),
        ({"status": 2}, "stamp_proof"),
        ({"at": datetime.now(UTC) - timedelta(hours=2)}, "stamp_time"),
        ({"at": datetime.now(UTC) + timedelta(hours=2)}, "stamp_time"),
        ({"at": datetime.now(UTC) - timedelta(days=7)}, "stamp_proof"),
    ],
)
def test_a_lie_is_no_stamp(lie: dict[str, Any], reason: str, double: AuthorityDouble) -> None:
    double.lie = lie
    assert fault(double) == reason


def test_a_stamp_by_another_authority_is_none(double: AuthorityDouble, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = AuthorityDouble(tmp_path / "other")
    try:
        assert fault(double, chain=str(other.chain)) == "stamp_proof"
    finally:
        other.server.close()


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(200, b"<html></html>", {"Content-Type": "text/html"}), "stamp_proof"),
        (Reply(200, b""), "stamp_proof"),
        (Reply(302, b"", {"Location": "http://localhost:1/"}), "stamp_refused"),
        (Reply(500, b"no"), "stamp_refused"),
        (Reply(200, behaviour="endless"), "answer_too_large"),
        (Reply(200, behaviour="slow"), "deadline"),
        (Reply(200, behaviour="silent"), "deadline"),
    ],
)
def test_what_is_no_answer_is_told_in_time(reply: Reply, reason: str, double: AuthorityDouble) -> None:
    double.say = lambda asked: reply
    assert fault(double, deadline_s=0.5 if reason == "deadline" else 20) == reason
