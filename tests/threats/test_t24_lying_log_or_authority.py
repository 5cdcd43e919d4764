"""T24: the log or the timestamp authority that signatures go to answers with something else than the truth.

A real daemon and its real publishers; behind them a log and an authority that do everything right but one thing.
Whatever that is, nothing is released, and the caller is told in time.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from fakes.http_double import Reply
from fakes.publishers import AuthorityDouble, LogDouble
from fakes.sigstore import b64, new_key
from running.callers import request
from running.configured import records, until
from running.daemon import Running, running
from running.published import log_table, publishing, stamp_table
from signerd.attestation.bundle import parse_bundle
from signerd.errors import SignerdError
from signerd.wire.params import Options
from signerd_client import Signed, Signer

BOTH = Options(transparency="required", timestamp=True)


class Stage:
    """The daemon, and whom it asks."""

    def __init__(self, base: Path) -> None:
        self.log, self.tsa = LogDouble(base, others=4), AuthorityDouble(base)
        self.config = publishing(
            base,
            log_table(self.log.url, self.log.public_key, more="deadline_s = 2.0"),
            stamp_table(f"{self.tsa.server.url}/stamp", self.tsa.chain, more="deadline_s = 2.0"),
        )
        self.number = 0
        self.daemon: Running

    def sign(self, options: Options = BOTH) -> Signed:
        self.number += 1
        with Signer.connect(self.daemon.socket) as signer:
            return signer.sign_dsse(dataclasses.replace(request(self.number), options=options), deadline_s=30)

    def refused(self, options: Options = BOTH) -> str:
        """The reason for which nothing was released."""
        started = time.monotonic()
        with pytest.raises(SignerdError) as raised:
            self.sign(options)
        assert raised.value.code == "transparency.unavailable"
        assert time.monotonic() - started < 15
        until(lambda: all(ends for ends in records(self.daemon).values()))
        assert list(records(self.daemon).values())[-1] == ["fault"]
        return raised.value.reason

    def honest(self) -> None:
        self.log.lie, self.log.say, self.log.signer = (lambda entry: None), (lambda asked: None), None
        self.log.stack.host = "localhost"
        self.tsa.lie, self.tsa.say = {}, lambda asked: None


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    base = tmp_path_factory.mktemp("lying")
    made = Stage(base)
    try:
        with running(base, config=made.config) as daemon:
            made.daemon = daemon
            until(lambda: daemon.said.count(" is up") == 2)
            yield made
    finally:
        made.log.server.close()
        made.tsa.server.close()


@pytest.fixture
def stage(stages: Stage) -> Iterator[Stage]:
    yield stages
    stages.honest()
    bundle = parse_bundle(stages.sign().bundles[0])
    assert (len(bundle.log_entries), len(bundle.timestamps)) == (1, 1), "the truth passes after a lie"


def _put(*path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def lie(entry: dict[str, Any]) -> None:
        for name in path[:-1]:
            entry = entry[name]
        entry[path[-1]] = value

    return lie


LIES = {
    "altered body": _put("canonicalizedBody", value="e30="),
    "wrong tree size": _put("inclusionProof", "treeSize", value="9"),
    "wrong root": _put("inclusionProof", "rootHash", value=b64(bytes(32))),
    "wrong index": _put("inclusionProof", "logIndex", value="0"),
    "no checkpoint": _put("inclusionProof", "checkpoint", value=None),
    "another log's id": _put("logId", "keyId", value=b64(bytes(32))),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_entry_that_proves_nothing(lie: str, stage: Stage) -> None:
    stage.log.lie = LIES[lie]
    assert stage.refused() == "log_proof"


def test_a_checkpoint_by_another_key(stage: Stage) -> None:
    stage.log.signer = ed25519.Ed25519PrivateKey.generate()
    assert stage.refused() == "log_proof"


def test_the_checkpoint_of_another_log(stage: Stage) -> None:
    stage.log.stack.host = "elsewhere.example"
    assert stage.refused() == "log_proof"


@pytest.mark.parametrize(
    "lie",
    [
        {"imprint": bytes(32)},
        {"key": new_key()},
        {"nonce": b"\2\1\1"},
        {"at": datetime.now(UTC) - timedelta(days=20)},
        {"status": 2},
    ],
)
def test_a_stamp_over_other_bytes_by_another_key_or_of_another_time(lie: dict[str, Any], stage: Stage) -> None:
    stage.tsa.lie = lie
    assert stage.refused() == "stamp_proof"


REPLIES = {
    "html": Reply(200, b"<html><title>Sign in</title></html>", {"Content-Type": "text/html"}),
    "redirect": Reply(302, b"", {"Location": "http://localhost:1/"}),
    "endless": Reply(201, behaviour="endless"),
    "slow": Reply(201, behaviour="slow"),
    "silent": Reply(behaviour="silent"),
    "cut": Reply(201, b"{}", behaviour="cut"),
}


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("who", ["log", "tsa"])
def test_what_is_no_answer(who: str, reply: str, stage: Stage) -> None:
    setattr(getattr(stage, who), "say", lambda asked: REPLIES[reply])  # noqa: B010
    assert stage.refused() in {
        "log_answer", "log_refused", "answer_too_large", "deadline", "unreachable", "stamp_refused", "stamp_proof",
    }  # fmt: skip


def test_who_does_not_ask_for_it_does_not_wait_for_it(stage: Stage) -> None:
    for one in (stage.log, stage.tsa):
        one.say = lambda asked: Reply(behaviour="silent")
    started = time.monotonic()
    assert isinstance(stage.sign(Options()), Signed)
    assert isinstance(stage.sign(Options(transparency="async")), Signed)
    assert time.monotonic() - started < 2
