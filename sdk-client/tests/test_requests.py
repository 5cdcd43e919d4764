import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from signerd.wire.macs import HmacCompute, HmacVerify
from signerd.wire.messages import Limits
from signerd.wire.methods import decode_items, decode_params
from signerd.wire.params import Descriptor, Options, PolicyMetadata, SignBatch, SignDsse, SignPayload
from signerd_client.requests import (
    FRAME_MARGIN,
    Call,
    PayloadRequest,
    SignRequest,
    batch_calls,
    mac_call,
    payload_call,
    plain_call,
    sign_call,
)
from signerd_client.subjects import Subject, SubjectFile

SUBJECT = Subject("a", {"sha256": "ab" * 32})


def request(size: int = 2, **more: Any) -> SignRequest:
    return SignRequest(subject=[SUBJECT], predicate_type="cyclonedx", predicate=b"x" * size, **more)


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def params_of(call: Call) -> Any:
    return decode_params(call.method, call.params)


def test_a_small_predicate_goes_inline_and_what_is_none_is_absent(limits: Limits) -> None:
    call = sign_call(request(limits.inline_bytes), limits)
    assert call.descriptors == ()
    decoded = params_of(call)
    assert isinstance(decoded, SignDsse)
    assert decoded.predicate == b"x" * limits.inline_bytes
    assert set(msgspec.msgpack.decode(call.params)) == {"subject", "predicate_type", "predicate"}


def test_everything_given_is_sent(limits: Limits) -> None:
    call = sign_call(
        request(
            scanner_image_digest="sha256:" + "0" * 64,
            options=Options(keys=("file:default",)),
            policy=PolicyMetadata("sha256:x", "v"),
            approval_id="a",
            idempotency_key="i",
        ),
        limits,
    )
    assert params_of(call).options.keys == ("file:default",)
    assert len(msgspec.msgpack.decode(call.params)) == 8


def test_a_predicate_above_the_inline_limit_is_a_sealed_memfd(limits: Limits) -> None:
    call = sign_call(request(limits.inline_bytes + 1), limits)
    predicate = params_of(call).predicate
    assert (predicate.fd, predicate.size) == (0, limits.inline_bytes + 1)
    assert os.readlink(f"/proc/self/fd/{call.descriptors[0]}").startswith("/memfd:")
    with pytest.raises(PermissionError):
        os.write(call.descriptors[0], b"y")
    call.close()
    call.close()
    assert call.descriptors == ()


def test_a_bare_document_goes_as_a_predicate_does(limits: Limits) -> None:
    call = payload_call(PayloadRequest(payload_type="a/b", payload=b"{}"), limits)
    assert (call.method, call.descriptors) == ("sign.payload", ())
    assert set(msgspec.msgpack.decode(call.params)) == {"payload_type", "payload"}
    whole = PayloadRequest(
        payload_type="a/b",
        payload=b"x" * (limits.inline_bytes + 1),
        subject=[SUBJECT],
        scanner_image_digest="sha256:" + "0" * 64,
        options=Options(keys=("file:default",)),
        policy=PolicyMetadata("sha256:x", "v"),
        approval_id="a",
        idempotency_key="i",
    )
    call = payload_call(whole, limits)
    asked = params_of(call)
    assert isinstance(asked, SignPayload)
    assert (asked.payload_type, asked.document) == ("a/b", asked.payload)
    assert not isinstance(asked.payload, bytes)
    assert (asked.payload.fd, asked.payload.size) == (0, limits.inline_bytes + 1)
    assert len(msgspec.msgpack.decode(call.params)) == 8
    call.close()


def test_a_bare_document_that_fails_closes_what_was_opened(limits: Limits, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"123")
    own = os.open(tmp_path / "f", os.O_RDONLY)
    before = open_descriptors()
    wrong: Any = object()
    with pytest.raises(AttributeError):
        payload_call(PayloadRequest(payload_type="t", payload=b"{}", subject=[SubjectFile("f", own), wrong]), limits)
    assert open_descriptors() == before
    os.close(own)


def test_a_subject_by_descriptor_is_duplicated(limits: Limits, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"123")
    own = os.open(tmp_path / "f", os.O_RDONLY)
    call = sign_call(
        SignRequest(subject=[SUBJECT, SubjectFile("f", own)], predicate_type="t", predicate=b"{}"), limits
    )
    os.close(own)
    subject = params_of(call).subject[1]
    assert (subject.name, subject.fd, subject.size) == ("f", 0, 3)
    assert os.pread(call.descriptors[0], 9, 0) == b"123"
    call.close()


def test_the_data_of_a_mac_is_bytes_a_memfd_or_a_file(limits: Limits, tmp_path: Path) -> None:
    wanted = HmacVerify("signing", "hmac:k", b"", bytes(32))
    inline = mac_call(b"123", wanted, limits)
    assert (inline.method, inline.descriptors) == ("hmac.verify", ())
    assert mac_params(inline) == HmacVerify("signing", "hmac:k", b"123", bytes(32))
    large = mac_call(bytes(limits.inline_bytes + 1), wanted, limits)
    assert os.fstat(large.descriptors[0]).st_size == limits.inline_bytes + 1
    (tmp_path / "f").write_bytes(b"123")
    own = os.open(tmp_path / "f", os.O_RDONLY)
    by_file = mac_call(own, HmacCompute("signing", "hmac:k", b""), limits)
    os.close(own)
    assert mac_params(by_file).data == Descriptor(0, 3)
    assert os.pread(by_file.descriptors[0], 9, 0) == b"123"
    for call in (large, by_file):
        call.close()
    with pytest.raises(OSError):
        mac_call(10_000, wanted, limits)


def mac_params(call: Call) -> HmacCompute | HmacVerify:
    params = decode_params(call.method, call.params)
    assert isinstance(params, HmacCompute | HmacVerify)
    return params


def test_a_failure_closes_what_was_opened(limits: Limits, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"123")
    own = os.open(tmp_path / "f", os.O_RDONLY)
    broken = SignRequest(
        subject=[SubjectFile("f", own), SubjectFile("g", 10_000)], predicate_type="t", predicate=b"{}"
    )
    before = open_descriptors()
    with pytest.raises(OSError):
        sign_call(broken, limits)
    with pytest.raises(OSError):
        list(batch_calls([request(limits.inline_bytes + 1), broken], None, limits))
    assert open_descriptors() == before
    os.close(own)


def test_a_plain_call_has_an_empty_map() -> None:
    assert bytes(plain_call("daemon.info").params) == b"\x80"


def items_of(call: Call) -> list[SignDsse]:
    batch = params_of(call)
    assert isinstance(batch, SignBatch)
    return list(decode_items(batch))  # type: ignore[arg-type]  # none is refused here, or the test fails


def test_a_batch_is_cut_by_items(limits: Limits) -> None:
    options = Options(profile="cosign")
    calls = list(batch_calls([request(size) for size in range(1, 8)], options, limits))
    assert [count for count, _ in calls] == [3, 3, 1]
    assert [len(item.predicate) for _, call in calls for item in items_of(call)] == [1, 2, 3, 4, 5, 6, 7]  # type: ignore[arg-type]
    assert all(params_of(call).options == options for _, call in calls)


def test_a_batch_is_cut_by_the_bytes_of_a_frame(limits: Limits) -> None:
    tight = msgspec.structs.replace(limits, frame_bytes=100_000 + FRAME_MARGIN, batch_items=100)
    calls = list(batch_calls([request(40_000) for _ in range(5)], None, tight))
    assert [count for count, _ in calls] == [2, 2, 1]
    assert all(len(call.params) + FRAME_MARGIN <= tight.frame_bytes for _, call in calls)


def test_a_batch_is_cut_by_descriptors_whose_indices_start_anew(limits: Limits) -> None:
    wide = msgspec.structs.replace(limits, batch_items=100, descriptors=2)
    before = open_descriptors()
    counts = []
    for count, call in batch_calls([request(limits.inline_bytes + 1) for _ in range(5)], None, wide):
        counts.append(count)
        assert len(call.descriptors) == count
        assert [item.predicate.fd for item in items_of(call)] == list(range(count))  # type: ignore[union-attr]
        call.close()
    assert counts == [2, 2, 1]
    assert open_descriptors() == before


def test_a_daemon_without_room_gets_single_items(limits: Limits) -> None:
    none = msgspec.structs.replace(limits, batch_items=0, frame_bytes=0, descriptors=0, inline_bytes=0)
    calls = list(batch_calls([request(), request()], None, none))
    assert [count for count, _ in calls] == [1, 1]
    for _, call in calls:
        call.close()


def test_an_empty_batch_asks_nothing(limits: Limits) -> None:
    assert list(batch_calls([], None, limits)) == []


def test_calls_are_built_when_they_are_asked_for(limits: Limits) -> None:
    before = open_descriptors()
    calls = batch_calls([request(limits.inline_bytes + 1) for _ in range(9)], None, limits)
    _, first = next(calls)
    assert len(open_descriptors() - before) == 3
    first.close()
    assert isinstance(first.params, Raw)
