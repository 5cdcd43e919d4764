import hashlib
import hmac
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from msgspec import Raw

from fakes.sealing import open_here
from signerd.contracts.providers import KeyBackend
from signerd.contracts.values import MacChecked, MacResult
from signerd.errors import Refusal, SignerdError
from signerd.host.memfd import sealed_memfd
from signerd.worker.calls import Calls
from signerd.worker.macs import AT_ONCE_BYTES, PART_BYTES, Message

KEYID = "sha256:" + "ab" * 32
SECRET = bytes(range(32))


class Secrets:
    """A backend with one secret, which may misbehave."""

    capabilities: tuple[str, ...] = ("hmac",)

    def __init__(self, answer: Callable[[bytes], Any] | None = None) -> None:
        self.answer = answer

    def hmac(self, key: str, algorithm: str, message: Iterable[bytes]) -> Any:
        mac = hmac.new(SECRET, digestmod="sha256")
        for part in message:
            mac.update(part)
        return MacResult(mac.digest(), KEYID) if self.answer is None else self.answer(mac.digest())

    def check_hmac(self, key: str, algorithm: str, message: Iterable[bytes], mac: bytes) -> Any:
        made = self.hmac(key, algorithm, message)
        return MacChecked(made.mac == mac, KEYID) if isinstance(made, MacResult) else made


def calls(backend: object = None) -> Calls:
    return Calls(cast("KeyBackend", backend or Secrets()), "test")


def begin(made: Calls, method: str, fds: list[int] | None = None, **params: Any) -> Any:
    wanted = {"key": "hmac:k", "algorithm": "HMAC-SHA256", "data": b"x", **params}
    return made.macs.begin(method, Raw(msgspec.msgpack.encode(wanted)), [] if fds is None else fds)


def done(made: Calls, method: str, fds: list[int] | None = None, **params: Any) -> dict[str, Any]:
    work, _ = begin(made, method, fds, **params)
    answer: dict[str, Any] = msgspec.msgpack.decode(work(lambda: False))
    return answer


def error(function: Callable[[], object]) -> str:
    with pytest.raises(SignerdError) as caught:
        function()
    return f"{caught.value.code} {caught.value.reason}"


def test_they_are_served_where_they_are_declared() -> None:
    assert calls().methods == ("describe", "sign", "hmac", "check_hmac", "batch")

    class Signs(Secrets):
        capabilities = ()

    assert calls(Signs()).methods == ("describe", "sign", "batch")


def test_only_short_data_is_done_at_once() -> None:
    assert begin(calls(), "hmac", data=bytes(AT_ONCE_BYTES))[1] is True
    assert begin(calls(), "hmac", data=bytes(AT_ONCE_BYTES + 1))[1] is False


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, 2 * PART_BYTES + 1])
def test_a_file_is_read_by_parts_and_closed(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    before = open_here()
    for fd in (os.open(tmp_path / "f", os.O_RDONLY), sealed_memfd("f", data)):
        os.lseek(fd, 0, os.SEEK_END)
        fds = [fd]
        made = done(calls(), "hmac", fds, data={"fd": 0, "size": size})
        assert made == {"mac": hmac.digest(SECRET, data, "sha256"), "keyid": KEYID}
        assert fds == []
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    checked = done(calls(), "check_hmac", [fd], data={"fd": 0, "size": size}, mac=made["mac"])
    assert checked == {"valid": True, "keyid": KEYID}
    assert open_here() == before


def test_a_size_that_lies(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(100))
    before = open_here()
    for size in (0, 99, 101, 1 << 40):
        fd = os.open(tmp_path / "f", os.O_RDONLY)
        said = error(lambda fd=fd, size=size: done(calls(), "hmac", [fd], data={"fd": 0, "size": size}))  # type: ignore[misc]
        assert said == "request.malformed size_mismatch"
    assert open_here() == before


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    before = open_here()
    opened = [
        os.open(tmp_path / "fifo", os.O_RDWR),
        os.open("/dev/zero", os.O_RDONLY),
        os.open(tmp_path, os.O_RDONLY),
        os.eventfd(0),
    ]
    for fd in opened:
        said = error(lambda fd=fd: done(calls(), "hmac", [fd], data={"fd": 0, "size": 8}))  # type: ignore[misc]
        assert said == "request.malformed descriptor_kind"
    (tmp_path / "f").write_bytes(bytes(8))
    for flags in (os.O_PATH, os.O_WRONLY):
        fd = os.open(tmp_path / "f", flags)
        said = error(lambda fd=fd: done(calls(), "hmac", [fd], data={"fd": 0, "size": 8}))  # type: ignore[misc]
        assert said == "request.malformed descriptor_read"
    assert open_here() == before


def test_nobody_waits_any_more(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as sparse:
        sparse.truncate(1 << 40)
    asked = 0

    def stopped() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    work, short = begin(calls(), "hmac", [os.open(tmp_path / "f", os.O_RDONLY)], data={"fd": 0, "size": 1 << 40})
    assert not short
    assert error(lambda: work(stopped)) == "key.backend_unavailable call_deadline"
    assert asked == 4


@pytest.mark.parametrize(
    ("params", "count", "said"),
    [
        ({"data": b"x"}, 1, "request.malformed descriptor_surplus"),
        ({"data": {"fd": 0, "size": 1}}, 0, "request.malformed descriptor_index"),
        ({"data": {"fd": 1, "size": 1}}, 2, "request.malformed descriptor_index"),
        ({"data": {"fd": 0, "size": 1}}, 2, "request.malformed descriptor_index"),
        ({"data": 5}, 0, "request.malformed wrong_type"),
        ({"algorithm": "HMAC-MD5"}, 0, "key.algorithm_refused unknown_algorithm"),
    ],
)
def test_calls_that_are_out_of_shape(params: dict[str, Any], count: int, said: str) -> None:
    fds = [os.eventfd(0) for _ in range(count)]
    assert error(lambda: begin(calls(), "hmac", fds, **params)) == said
    assert len(fds) == count, "the caller closes what was not taken"
    for fd in fds:
        os.close(fd)


LIES: list[tuple[Callable[[bytes], Any], str]] = [
    (lambda mac: mac, "plugin_type"),
    (lambda mac: True, "plugin_type"),
    (lambda mac: MacResult(mac[:31], KEYID), "plugin_answer"),
    (lambda mac: MacResult(mac + mac, KEYID), "plugin_answer"),
    (lambda mac: MacResult(cast("Any", "text"), KEYID), "plugin_type"),
    (lambda mac: MacResult(mac, "sha256:short"), "plugin_answer"),
    (lambda mac: MacResult(mac, cast("Any", None)), "plugin_type"),
]


@pytest.mark.parametrize(("answer", "reason"), LIES, ids=range(len(LIES)))
def test_an_answer_that_is_no_mac_is_a_fault(answer: Callable[[bytes], Any], reason: str) -> None:
    assert error(lambda: done(calls(Secrets(answer)), "hmac")) == f"key.backend_fault {reason}"


def test_a_comparison_says_true_or_false() -> None:
    lying = Secrets(lambda mac: MacChecked(cast("Any", 1), KEYID))
    assert error(lambda: done(calls(lying), "check_hmac", mac=bytes(32))) == "key.backend_fault plugin_type"


def test_a_backend_that_swallows_the_end_of_a_file_makes_no_mac_of_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(10))

    class Swallows(Secrets):
        def hmac(self, key: str, algorithm: str, message: Iterable[bytes]) -> Any:
            parts = iter(message)
            mac = hashlib.sha256()
            while True:
                try:
                    mac.update(next(parts))
                except (StopIteration, SignerdError):
                    return MacResult(mac.digest(), KEYID)

    class Impatient(Secrets):
        def hmac(self, key: str, algorithm: str, message: Iterable[bytes]) -> Any:
            next(iter(message))
            return MacResult(bytes(32), KEYID)

    for backend in (Swallows(), Impatient()):
        fd = os.open(tmp_path / "f", os.O_RDONLY)
        said = error(
            lambda fd=fd, backend=backend: done(calls(backend), "hmac", [fd], data={"fd": 0, "size": 20})  # type: ignore[misc]
        )
        assert said == "key.backend_fault plugin_answer"


def test_what_a_backend_refuses_with() -> None:
    class Refuses(Secrets):
        def __init__(self, code: str) -> None:
            super().__init__()
            self.code = code

        def hmac(self, key: str, algorithm: str, message: Iterable[bytes]) -> Any:
            raise Refusal(self.code, "because", "no")

    assert error(lambda: done(calls(Refuses("key.not_found")), "hmac")) == "key.not_found because"
    assert error(lambda: done(calls(Refuses("auth.required")), "hmac")) == "key.backend_fault plugin_code"


def test_a_message_can_be_taken_once_more() -> None:
    message = Message(b"abc", 3)
    assert (b"".join(message), b"".join(message), message.whole) == (b"abc", b"abc", True)
