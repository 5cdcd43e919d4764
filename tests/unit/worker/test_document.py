import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import rfc8785

from fakes.distributions import install
from fakes.links import Peer
from signerd.contracts.hookspecs import PLUGINS_GROUP
from signerd.errors import Refusal
from signerd.host.load import Provided
from signerd.host.memfd import SEALS, read_sealed, sealed_memfd
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import PAYLOAD_INLINE, CheckDocument, DocumentChecked
from signerd.worker.document import check

URI = "https://example.test/Checked/v1"
SUBJECTS = b'[{"digest":{"sha256":"' + b"0" * 64 + b'"},"name":"a"}]'

PLUGIN = f"""
from signerd.contracts import hookimpl
from signerd.errors import Refusal
class Checked:
    uri, names = "{URI}", ("checked",)
    needs_release = needs_policy = heavy = False
    def __init__(self, settings): self.word = settings.get("word", "bad")
    def check(self, document):
        if self.word in document:
            where = {{"pointer": "/" + self.word}}
            raise Refusal("predicate.invalid", "bad_word", "a word is bad", details=where)
        if "crash" in document:
            raise KeyError("crash")
    def policy(self, document): return None
@hookimpl
def signerd_predicates(settings): return [Checked(settings)]
"""


class Checked:
    uri = URI
    names: tuple[str, ...] = ("checked",)
    needs_release = heavy = False

    def __init__(self, *, needs_policy: bool = False, own: object = None) -> None:
        self.needs_policy = needs_policy
        self._own = own

    def check(self, document: dict[str, object]) -> None:
        if "bad" in document:
            raise Refusal("predicate.invalid", "bad_word", "a word is bad", details={"pointer": "/bad"})
        if "crash" in document:
            raise KeyError("secret")

    def policy(self, document: dict[str, object]) -> tuple[str, str] | None:
        return self._own  # type: ignore[return-value]  # some tests return what they must not


def run(
    predicate: bytes | Descriptor,
    fds: tuple[int, ...] = (),
    kind: Checked | None = None,
    uri: str = URI,
    policy: tuple[str, str] = ("", ""),
) -> tuple[DocumentChecked, int | None]:
    call = CheckDocument(7, uri, predicate, SUBJECTS, *policy)
    return check(call, fds, {URI: Provided("checked", kind or Checked())})


def error(*args: object, **more: object) -> tuple[str, str]:
    answer, fd = run(*args, **more)  # type: ignore[arg-type]  # handed on
    assert fd is None
    assert answer.statement is None
    assert answer.error is not None
    return f"{answer.error.code} {answer.error.reason}", answer.pointer


def statement_of(predicate: Any) -> bytes:
    subjects = json.loads(SUBJECTS)
    return rfc8785.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": subjects,
            "predicateType": URI,
            "predicate": predicate,
        }
    )


def test_a_small_document_becomes_a_statement_inline() -> None:
    text = b'{"b": 1.50, "a": "\\u00e9"}'
    answer, fd = run(text)
    assert fd is None
    assert answer.error is None
    assert answer.id == 7
    assert answer.statement == statement_of({"b": 1.5, "a": "é"})
    assert answer.predicate_sha256 == hashlib.sha256(text).hexdigest()


def test_of_a_bare_document_the_canonical_form_is_all() -> None:
    text = b'{"b": 1.50, "a": "\\u00e9"}'
    call = CheckDocument(7, URI, text, b"", bare=True)
    answer, fd = check(call, (), {URI: Provided("checked", Checked())})
    assert fd is None
    assert answer.statement == rfc8785.dumps({"b": 1.5, "a": "é"})
    assert answer.predicate_sha256 == hashlib.sha256(text).hexdigest()


def test_a_large_one_comes_and_goes_by_sealed_memfd() -> None:
    document = {"components": [{"name": f"n{number}", "n": number} for number in range(30_000)]}
    text = json.dumps(document).encode()
    source = sealed_memfd("predicate", text)
    answer, fd = run(Descriptor(0, len(text)), (source,))
    os.close(source)
    assert fd is not None
    expected = statement_of(document)
    assert answer.statement == Descriptor(0, len(expected))
    assert len(expected) > PAYLOAD_INLINE
    assert read_sealed(fd, len(expected), 1 << 30) == expected
    import fcntl

    assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) == SEALS
    os.close(fd)


def test_a_statement_that_the_sealer_would_not_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b'{"a":[' + b",".join([b"1e15"] * 100) + b"]}"
    size = len(statement_of(json.loads(text)))
    monkeypatch.setattr("signerd.worker.document.STATEMENT_BYTES", size)
    assert run(text)[0].error is None
    monkeypatch.setattr("signerd.worker.document.STATEMENT_BYTES", size - 1)
    assert error(text) == ("request.too_large statement_too_large", "")


def test_refusals_are_answers_with_their_place() -> None:
    assert error(b'{"bad": 1}') == ("predicate.invalid bad_word", "/bad")
    assert error(b"{") == ("predicate.invalid not_json", "")
    assert error(b"[]") == ("predicate.invalid not_object", "")
    assert error(b'{"a": 1, "a": 2}')[0] == "predicate.invalid duplicate_key"
    assert error(b"[" * 100_000)[0] == "predicate.invalid too_deep"
    assert error(b"{}", uri="https://example.test/other")[0] == "predicate.unsupported unknown_type"


def test_a_defect_of_a_plugin_is_an_answer_that_says_nothing_to_the_caller() -> None:
    answer, _ = run(b'{"crash": 1}')
    assert answer.error is not None
    assert (answer.error.code, answer.error.reason) == ("internal", "plugin_failed")
    assert "secret" not in answer.error.message
    assert "predicate(checked): KeyError" in answer.error.operator
    for own in (5, "text", ["a", "b"]):
        assert error(b"{}", kind=Checked(own=own))[0] == "internal plugin_type"


def test_the_policy_of_the_request_must_be_the_documents_own() -> None:
    own = ("sha256:" + "1" * 64, "view")
    assert run(b"{}", kind=Checked(own=own), policy=own)[0].error is None
    assert run(b"{}", kind=Checked(own=own))[0].error is None
    assert run(b"{}", policy=own)[0].error is None
    assert (
        error(b"{}", kind=Checked(own=own), policy=(own[0], "other"))[0]
        == "predicate.invalid policy_mismatch"
    )
    assert error(b"{}", kind=Checked(needs_policy=True))[0] == "predicate.invalid policy_missing"
    assert run(b"{}", kind=Checked(needs_policy=True), policy=own)[0].error is None


def test_descriptors_that_are_not_as_they_should_be_are_refused() -> None:
    fd, plain = sealed_memfd("predicate", b"{}"), os.open(os.devnull, os.O_RDONLY)
    try:
        assert error(Descriptor(0, 2), ())[0] == "request.malformed descriptor_index"
        assert error(Descriptor(1, 2), (fd,))[0] == "request.malformed descriptor_index"
        assert error(Descriptor(0, 2), (fd, plain))[0] == "request.malformed descriptor_index"
        assert error(b"{}", (fd,))[0] == "request.malformed descriptor_index"
        assert error(Descriptor(0, 3), (fd,))[0] == "request.malformed size_mismatch"
        assert error(Descriptor(0, 2), (plain,))[0] == "request.malformed not_sealed"
    finally:
        os.close(fd)
        os.close(plain)


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    site = tmp_path / "site"
    site.mkdir(mode=0o755)
    files = {"signerd_checked_predicates/__init__.py": PLUGIN}
    install(
        site, "signerd-checked-predicates", files, {PLUGINS_GROUP: {"checked": "signerd_checked_predicates"}}
    )
    old = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *([old] if old else [])]))
    peer = Peer("signerd.worker.document", {"plugins": {"checked": {"settings": {"word": "ugly"}}}})
    yield peer
    peer.close()


def memory_kb(pid: int) -> int:
    line = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")
    )
    return int(line.split()[1])


def test_the_process_serves_one_document_after_the_other_and_gives_memory_back(worker: Peer) -> None:
    def ask(
        number: int, predicate: bytes | Descriptor, fds: tuple[int, ...] = ()
    ) -> tuple[DocumentChecked, tuple[int, ...]]:
        worker.send(CheckDocument(number, URI, predicate, SUBJECTS), fds)
        answer, brought = worker.receive()
        return msgspec.convert(answer, DocumentChecked), brought

    small, _ = ask(1, b"{}")
    assert small.statement == statement_of({})
    idle = memory_kb(worker.process.pid)
    document = {
        "components": [{"name": f"component-{number}", "version": str(number)} for number in range(150_000)]
    }
    text = json.dumps(document).encode()
    fd = sealed_memfd("predicate", text)
    for number in (2, 3):
        large, brought = ask(number, Descriptor(0, len(text)), (fd,))
        assert isinstance(large.statement, Descriptor)
        statement = read_sealed(brought[0], large.statement.size, 1 << 30)
        assert len(brought) == 1
        os.close(brought[0])
        assert hashlib.sha256(statement).digest() == hashlib.sha256(statement_of(document)).digest()
    os.close(fd)
    refused, _ = ask(4, b'{"ugly": 1}')
    assert refused.error is not None
    assert (refused.error.reason, refused.pointer) == ("bad_word", "/ugly")
    after = memory_kb(worker.process.pid)
    assert after - idle < 2 * len(text) // 1024, "the tree of a document takes some ten times its size"


def test_the_process_ends_with_its_link_and_on_anything_but_a_call(worker: Peer) -> None:
    worker.send_bytes(b"\x00\x00\x00\x01\xc0")
    assert worker.status() == 0


def test_a_plugin_that_cannot_be_loaded_is_said_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    peer = Peer("signerd.worker.document", {"plugins": {"nobody": {}}})
    try:
        assert peer.status() == 2
    finally:
        peer.close()
    assert "plugin nobody: no installed distribution offers it" in capfd.readouterr().err


def test_a_plugin_whose_certificate_does_not_hold_is_not_run(capfd: pytest.CaptureFixture[str]) -> None:
    entry = {"certificate": "/absent.json", "certifiers": ["/absent.pub"]}
    peer = Peer("signerd.worker.document", {"plugins": {"predicates-intoto": entry}})
    try:
        assert peer.status() == 2
    finally:
        peer.close()
    assert "plugin predicates-intoto: /absent.pub: it cannot be read" in capfd.readouterr().err
