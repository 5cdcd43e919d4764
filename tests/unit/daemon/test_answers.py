import os
import resource
from typing import Any

import msgspec
import pytest

from fakes.services import PEER, built, complete, request, world
from signerd.daemon.answers import FRAME_ROOM, MOST_SENT, SMALL, batch_answer, close_all, sign_answer
from signerd.errors import Refusal, SignerdError
from signerd.host.memfd import sealed_memfd
from signerd.pipeline.evidence import Signed
from signerd.pipeline.record import Entry
from signerd.pipeline.seal import seal
from signerd.wire.methods import Descriptor


@pytest.fixture(scope="module")
def small() -> Signed:
    """A real result."""
    given = world()
    asked = request()
    return complete(seal(built(given, asked), Entry(asked, PEER, given.ledger), given.services), given, asked)


def of(
    small: Signed, *bundles: bytes, envelope: bytes | None = None, cose: tuple[bytes, ...] = (), fds: bool = False
) -> Signed:
    """``small`` with other values; with ``fds`` they come in memfds, as the sealer hands large ones over."""
    own: list[int] = []

    def value(content: bytes) -> bytes | Descriptor:
        if not fds:
            return content
        own.append(sealed_memfd("own", content))
        return Descriptor(len(own) - 1, len(content))

    changes: dict[str, Any] = {"bundles": tuple(value(bundle) for bundle in bundles)}
    if envelope is not None:
        changes["envelope"] = value(envelope)
    if cose:
        changes["cose"] = tuple(value(message) for message in cose)
    return Signed(small.audit_id, msgspec.structs.replace(small.result, **changes), tuple(own))


def contents(result: dict[str, Any], fds: tuple[int, ...]) -> list[bytes]:
    values = [*result["bundles"], *([result["envelope"]] if "envelope" in result else []), *result.get("cose", ())]
    return [v if isinstance(v, bytes) else os.pread(fds[v["fd"]], v["size"], 0) for v in values]


def unpacked(raw: msgspec.Raw) -> Any:
    return msgspec.msgpack.decode(raw)


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Any:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before


def test_a_small_result_is_inline(small: Signed) -> None:
    raw, fds = sign_answer(small, 1 << 20)
    assert fds == ()
    assert unpacked(raw)["bundles"] == list(small.result.bundles)
    assert unpacked(raw)["receipt"]["audit_id"] == small.audit_id


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("inline_max", [0, 999, 1000, 1 << 40])
def test_what_is_above_the_callers_limit_is_a_memfd_and_nothing_else_is(
    small: Signed, own: bool, inline_max: int
) -> None:
    values = [b"a" * 1000, b"b" * 2000, b"c" * 500]
    raw, fds = sign_answer(of(small, *values[:2], envelope=values[2], fds=own), inline_max)
    result = unpacked(raw)
    assert contents(result, fds) == values
    assert len(fds) == sum(len(value) > inline_max for value in values)
    assert sorted(v["fd"] for v in [*result["bundles"], result["envelope"]] if isinstance(v, dict)) == list(
        range(len(fds))
    )
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("inline_max", [0, 999, 1000, 1 << 40])
def test_messages_go_as_bundles_do(small: Signed, own: bool, inline_max: int) -> None:
    values = [b"a" * 1000, b"b" * 2000]
    raw, fds = sign_answer(of(small, cose=tuple(values), fds=own), inline_max)
    assert contents(unpacked(raw), fds) == values
    assert len(fds) == sum(len(value) > inline_max for value in values)
    for fd in fds:
        os.close(fd)


def test_many_keys_do_not_outgrow_a_frame(small: Signed) -> None:
    values = [bytes([n]) * 300_000 for n in range(20)]
    raw, fds = sign_answer(of(small, *values), 1 << 20)
    assert len(raw) < FRAME_ROOM
    assert contents(unpacked(raw), fds) == values
    for fd in fds:
        os.close(fd)


def test_a_batch_keeps_the_order_and_tells_each_reason(small: Signed) -> None:
    refused = Refusal("predicate.invalid", "schema", "no", operator="in /secret", details={"pointer": "/a"})
    raw, fds, left_out = batch_answer([small, refused, small], 1 << 20)
    outcomes = unpacked(raw)["outcomes"]
    assert [outcome["index"] for outcome in outcomes] == [0, 1, 2]
    assert outcomes[1]["error"] == {
        "code": "predicate.invalid",
        "message": "no",
        "details": {"reason": "schema", "pointer": "/a"},
    }
    assert outcomes[0]["ok"]["bundles"] == outcomes[2]["ok"]["bundles"] == list(small.result.bundles)
    assert (fds, left_out) == ((), [])


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(("size", "inline_max"), [(SMALL + 1, 0), (12_000, 1 << 20), (12_000, 0), (SMALL, 1 << 20)])
def test_256_items_fit_a_frame_and_a_message(small: Signed, own: bool, size: int, inline_max: int) -> None:
    results: list[Signed | SignerdError] = [of(small, bytes([n]) * size, fds=own) for n in range(256)]
    raw, fds, left_out = batch_answer(results, inline_max)
    assert left_out == []
    assert len(fds) <= MOST_SENT
    assert len(raw) < 4 << 20
    found = [contents(outcome["ok"], fds)[0] for outcome in unpacked(raw)["outcomes"]]
    assert found == [bytes([n]) * size for n in range(256)]
    for fd in fds:
        os.close(fd)


def test_what_has_no_room_is_left_out_and_closed(small: Signed) -> None:
    results: list[Signed | SignerdError] = [
        of(small, b"b" * 20_000, envelope=b"e" * 20_000, fds=True) for _ in range(256)
    ]
    raw, fds, left_out = batch_answer(results, 1 << 20)
    outcomes = unpacked(raw)["outcomes"]
    assert len(left_out) == sum("error" in outcome for outcome in outcomes) > 0
    assert len(fds) <= MOST_SENT
    assert len(raw) < 4 << 20
    for fd in fds:
        os.close(fd)


def test_where_no_descriptor_is_left_all_are_given_back(small: Signed) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    result = of(small, b"b" * 1000, b"c" * 1000, fds=True)
    inline = of(small, *[b"d" * 5000] * 30)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 5, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            batch_answer([result, inline], 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_close_all(small: Signed) -> None:
    close_all([of(small, b"x", fds=True), Refusal("predicate.invalid", "schema", "no"), small])
