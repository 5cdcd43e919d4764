"""The log's client against a log that is right, and one that is not."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256

from fakes.http_double import Asked, Reply
from fakes.publishers import LogDouble
from fakes.sigstore import Witnessing, new_key, spki
from signerd.attestation.log_entry import LogEntry, parse_log_entry
from signerd.contracts.values import LogFound
from signerd.errors import Fault
from signerd.verification.log_entry import verify_log_entry
from signerd_log_rekor.log import RekorLog, submission
from signerd_log_rekor.settings import read_settings

KEY = new_key()


@pytest.fixture
def double(tmp_path: Path) -> Iterator[LogDouble]:
    made = LogDouble(tmp_path, others=5)
    yield made
    made.server.close()


def signed(message: bytes = b"message") -> tuple[bytes, bytes, bytes]:
    return sha256(message).digest(), KEY.sign(message, ec.ECDSA(SHA256())), spki(KEY)


def asked(double: LogDouble, given: tuple[bytes, bytes, bytes], **settings: object) -> LogEntry:
    log = RekorLog(read_settings(double.settings(**settings)))
    entry = parse_log_entry(trio.run(log.submit, *given))
    one, _ = submission(*given)
    verify_log_entry(entry, one, read_settings(double.settings()).shards)
    return entry


def fault(double: LogDouble, given: tuple[bytes, bytes, bytes], **settings: object) -> str:
    with pytest.raises(Fault) as raised:
        asked(double, given, **settings)
    assert raised.value.code == "transparency.unavailable"
    assert "http" not in raised.value.public
    return raised.value.reason


def test_an_entry_is_what_the_log_says_without_what_is_null(double: LogDouble) -> None:
    entry = asked(double, signed())
    assert (entry.log_index, entry.kind, entry.version, entry.promise, entry.integrated_time) == (
        5, "hashedrekord", "0.0.2", None, 0,
    )  # fmt: skip
    (post,) = double.server.asked
    assert (post.path, post.headers["content-type"]) == ("/api/v2/log/entries", "application/json")


@pytest.mark.parametrize("others", [0, 1, 2, 7, 255, 256, 257, 700])
def test_a_duplicate_has_its_proof_out_of_the_tiles(others: int, tmp_path: Path) -> None:
    double = LogDouble(tmp_path, others=others)
    try:
        given = signed()
        first = asked(double, given)
        double.leaves += [b"later %d" % n for n in range(others // 2)]
        again = asked(double, given)
    finally:
        double.server.close()
    assert (again.log_index, again.body) == (first.log_index, first.body)
    assert again.tree_size == others + 1 + others // 2


def test_a_duplicate_that_is_not_integrated_yet_is_waited_for(double: LogDouble) -> None:
    given = signed()
    asked(double, given)
    late = double.checkpoint()
    double.leaves, leaves = double.leaves[:5], double.leaves
    early = double.checkpoint()
    double.leaves = leaves
    told = iter([early, early, late])

    def say(asked: Asked) -> Reply | None:
        return Reply(200, next(told).encode()) if asked.path.endswith("/checkpoint") else None

    double.say = say
    assert asked(double, given).tree_size == 6


def test_a_busy_log_is_asked_again(double: LogDouble) -> None:
    double.busy = 2
    assert asked(double, signed()).log_index == 5
    assert double.posts == 3


def test_a_log_that_stays_busy_is_given_up(double: LogDouble) -> None:
    double.busy = 1000
    assert fault(double, signed(), deadline_s=0.7) == "deadline"


def test_a_frozen_shard_is_left_for_the_next_and_not_asked_again(double: LogDouble, tmp_path: Path) -> None:
    (tmp_path / "next").mkdir()
    following = LogDouble(tmp_path / "next", others=1)
    try:
        double.frozen = True
        shards = [*double.settings()["shards"], *following.settings()["shards"]]  # type: ignore[misc]  # lists
        log = RekorLog(read_settings({"shards": shards}))
        for number in (b"1", b"2"):
            trio.run(log.submit, *signed(number))
    finally:
        following.server.close()
    assert (double.posts, following.posts) == (1, 2)
    assert fault(double, signed()) == "log_frozen"


Lie = Callable[[dict[str, Any]], None]


def put(*path: str, value: object) -> Lie:
    def lie(entry: dict[str, Any]) -> None:
        place = entry
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value

    return lie


def without_proof(entry: dict[str, Any]) -> None:
    del entry["inclusionProof"]


def other_body(entry: dict[str, Any]) -> None:
    body = json.loads(base64.b64decode(entry["canonicalizedBody"]))
    body["spec"]["hashedRekordV002"]["data"]["digest"] = base64.b64encode(bytes(32)).decode()
    entry["canonicalizedBody"] = base64.b64encode(json.dumps(body).encode()).decode()


NOTHING_HASH = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (other_body, "log_proof"),
        (without_proof, "log_proof"),
        (put("logId", "keyId", value=NOTHING_HASH), "log_proof"),
        (put("logIndex", value="1"), "log_proof"),
        (put("logIndex", value=5), "log_answer"),
        (put("inclusionProof", "treeSize", value="7"), "log_proof"),
        (put("inclusionProof", "rootHash", value=NOTHING_HASH), "log_proof"),
        (put("inclusionProof", "hashes", value=[]), "log_proof"),
        (put("inclusionProof", "checkpoint", "envelope", value="localhost\n6\n"), "log_proof"),
        (put("kindVersion", "version", value="0.0.1"), "log_proof"),
        (put("surprise", value=1), "log_answer"),
    ],
)
def test_a_lie_is_no_entry(lie: Lie, reason: str, double: LogDouble) -> None:
    double.lie = lie
    assert fault(double, signed()) == reason


def test_a_checkpoint_by_another_key_proves_nothing(double: LogDouble) -> None:
    double.signer = ed25519.Ed25519PrivateKey.generate()
    assert fault(double, signed()) == "log_proof"
    assert fault(double, signed()) == "log_proof", "nor does it of tiles"


def test_the_checkpoint_of_another_log_proves_nothing(double: LogDouble) -> None:
    double.stack.host = "elsewhere.example"
    assert fault(double, signed()) == "log_proof"


def test_tiles_that_lie_prove_nothing(double: LogDouble) -> None:
    given = signed()
    asked(double, given)
    double.say = lambda asked: Reply(200, bytes(8192)) if "/tile/" in asked.path else None
    assert fault(double, given) == "log_proof"
    double.say = lambda asked: Reply(404) if "/tile/" in asked.path else None
    assert fault(double, given) == "log_answer"


@pytest.mark.parametrize("index", ["", "-1", "x", "9" * 30, "0"])
def test_a_duplicate_of_another_place_proves_nothing(index: str, double: LogDouble) -> None:
    double.say = lambda asked: Reply(409, b"{}", {"X-Log-Index": index}) if asked.method == "POST" else None
    assert fault(double, signed()) in {"log_answer", "log_proof"}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(200, b"<html><title>Sign in</title></html>", {"Content-Type": "text/html"}), "log_answer"),
        (Reply(201, b""), "log_answer"),
        (Reply(201, b"{" * 100_000), "log_answer"),
        (Reply(302, b"", {"Location": "http://localhost:1/"}), "log_refused"),
        (Reply(400, b"invalid hashedrekord request"), "log_refused"),
        (Reply(201, behaviour="endless"), "answer_too_large"),
        (Reply(201, behaviour="headers"), "unreachable"),
        (Reply(201, b"{}", behaviour="cut"), "unreachable"),
        (Reply(201, behaviour="slow"), "deadline"),
        (Reply(behaviour="silent"), "deadline"),
    ],
)
def test_what_is_no_answer_is_told_in_time(reply: Reply, reason: str, double: LogDouble) -> None:
    double.say = lambda asked: reply
    started = time.monotonic()
    assert fault(double, signed(), deadline_s=0.5 if reason == "deadline" else 20) == reason
    assert time.monotonic() - started < 10
    assert double.posts == 1


def test_a_log_that_is_not_there(double: LogDouble) -> None:
    double.server.close()
    assert fault(double, signed()) == "unreachable"


def test_witnesses_are_counted(double: LogDouble) -> None:
    known, stranger = Witnessing(), Witnessing("stranger.example")
    double.witnesses = (stranger,)
    asking = {"witnesses": [known.vkey], "witness_threshold": 1}
    assert fault(double, signed(b"1"), **asking) == "log_proof"
    double.witnesses = (stranger, known)
    assert asked(double, signed(b"2"), **asking).log_index == 6


def test_keys_that_no_log_takes_are_refused_before_anything_is_sent(double: LogDouble) -> None:
    digest, signature, _ = signed()
    for verifier in (spki(ed25519.Ed25519PrivateKey.generate()), b"no key"):
        assert fault(double, (digest, signature, verifier)) == "key_refused"
    assert double.posts == 0


# Looking for what a log has.


def found(double: LogDouble, digest: bytes, **settings: object) -> LogFound:
    return trio.run(RekorLog(read_settings(double.settings(**settings))).find, digest)


def test_an_entry_is_found_by_its_digest(double: LogDouble) -> None:
    given, other = signed(), signed(b"other")
    for each in (given, other):
        asked(double, each)
    double.leaves += [b"later %d" % n for n in range(300)]
    looked = found(double, given[0])
    (proof,) = looked.proofs
    entry = parse_log_entry(proof)
    one, _ = submission(*given)
    verify_log_entry(entry, one, read_settings(double.settings()).shards)
    assert (entry.log_index, looked.first, looked.size) == (5, 0, 307)
    assert found(double, sha256(b"nothing").digest()) == LogFound((), 0, 307)


def test_every_signature_over_the_same_bytes_is_found_and_no_more_than_eight(double: LogDouble) -> None:
    digest = sha256(b"message").digest()
    for _ in range(10):
        key = new_key()
        asked(double, (digest, key.sign(b"message", ec.ECDSA(SHA256())), spki(key)))
    looked = found(double, digest)
    assert len({parse_log_entry(proof).log_index for proof in looked.proofs}) == 8


def test_only_the_newest_are_looked_at(double: LogDouble) -> None:
    given = signed()
    asked(double, given)
    double.leaves += [b"later %d" % n for n in range(600)]
    assert found(double, given[0], find_entries=50) == LogFound((), 512, 606)


def test_what_only_holds_the_digest_is_no_entry_over_it(double: LogDouble) -> None:
    digest, signature, verifier = signed()
    text = base64.b64encode(digest)
    double.leaves += [b'{"digest":"%b"}' % text, b'"%b"' % text]
    # A body whose signature is over other bytes: the log would not have taken it.
    asked(double, signed(b"other"))
    double.leaves[-1] = double.leaves[-1].replace(base64.b64encode(sha256(b"other").digest()), text)
    assert found(double, digest).proofs == ()
    asked(double, (digest, signature, verifier))
    assert len(found(double, digest).proofs) == 1


def test_all_shards_are_looked_into(double: LogDouble, tmp_path: Path) -> None:
    (tmp_path / "next").mkdir()
    following = LogDouble(tmp_path / "next", others=1)
    given = signed()
    try:
        asked(double, given)
        shards = [*double.settings()["shards"], *following.settings()["shards"]]  # type: ignore[misc]  # lists
        looked = found(double, given[0], shards=shards)
    finally:
        following.server.close()
    assert (len(looked.proofs), looked.first, looked.size) == (1, 0, 1)


def other_signer(double: LogDouble) -> None:
    double.signer = ed25519.Ed25519PrivateKey.generate()


def no_bundles(double: LogDouble) -> None:
    double.say = lambda asked: Reply(404) if "/entries/" in asked.path else None


def no_tiles(double: LogDouble) -> None:
    double.say = lambda asked: Reply(404) if "/tile/0/" in asked.path else None


def other_entries(double: LogDouble) -> None:
    """The bundle tells of an entry that is not in the tree."""
    leaves = list(double.leaves)
    checkpoint = double.checkpoint()
    asked(double, signed(b"never in the tree"))
    body, double.leaves = double.leaves[-1], leaves

    def say(asked: Asked) -> Reply | None:
        if asked.path.endswith("/checkpoint"):
            return Reply(200, checkpoint.encode())
        if "/entries/" in asked.path:
            entries = [*leaves[:-1], body]
            return Reply(200, b"".join(len(one).to_bytes(2) + one for one in entries))
        return None

    double.say = say


@pytest.mark.parametrize(
    ("lie", "digest", "reason"),
    [
        (other_signer, b"message", "log_answer"),
        (no_bundles, b"message", "log_answer"),
        (no_tiles, b"message", "log_answer"),
        (other_entries, b"never in the tree", "log_proof"),
    ],
)
def test_a_log_that_cannot_be_read_has_not_nothing(
    lie: Callable[[LogDouble], None], digest: bytes, reason: str, double: LogDouble
) -> None:
    asked(double, signed())
    lie(double)
    with pytest.raises(Fault) as raised:
        found(double, sha256(digest).digest())
    assert (raised.value.code, raised.value.reason) == ("transparency.unavailable", reason)


def test_a_log_that_answers_too_slowly(double: LogDouble) -> None:
    double.say = lambda asked: Reply(503)
    with pytest.raises(Fault) as raised:
        found(double, sha256(b"message").digest(), deadline_s=0.7)
    assert raised.value.reason == "deadline"
