import hashlib
import mmap
import os

import pytest

from fakes.sealing import Bench, SoftKey, open_here
from signerd.attestation.dsse import pae
from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.errors import Fault
from signerd.host.memfd import check_sealed, sealed_memfd
from signerd.sealer import signatures
from signerd.sealer.cose import assemble_cose
from signerd.sealer.job import Job, Made
from signerd.sealer.large import PART_BYTES, SLICE_BYTES, assemble, discard, hash_payload
from signerd.wire.params import Descriptor

KEYS = (SoftKey(), SoftKey("file:ed", "Ed25519"))
SIZES = [1, 2, 3, SLICE_BYTES - 1, SLICE_BYTES, SLICE_BYTES + 1, 3 * SLICE_BYTES + 2, PART_BYTES, 2 * PART_BYTES + 1]


def payload_of(size: int) -> bytes:
    return os.urandom(1024) * (size // 1024) + bytes(size % 1024)


def jobs(payload: bytes, *keys: SoftKey, profile: str = "cosign", envelope: bool = True) -> tuple[Job, Job]:
    """The same item twice: its payload inline, and in a memfd."""
    bench = Bench(*keys)
    inline = Job(bench.item(payload, envelope=envelope, profile=profile), tuple(key.pinned() for key in keys), 2000.0)
    fd = sealed_memfd("payload", payload)
    item = bench.item(Descriptor(0, len(payload)), envelope=envelope, profile=profile)
    bench.close()
    return inline, Job(item, tuple(key.pinned() for key in keys), 2000.0, fd)


def content(fd: int, size: int) -> bytes:
    check_sealed(fd, size, 1 << 30)
    return os.pread(fd, size, 0)


@pytest.mark.parametrize("size", SIZES)
def test_the_bytes_are_those_of_an_inline_payload(size: int) -> None:
    before = open_here()
    payload = payload_of(size)
    inline, large = jobs(payload, *KEYS)
    inline.hash_inline(payload)
    hash_payload(large)
    assert (large.statement_sha256, large.to_sign(0).sha256) == (inline.statement_sha256, inline.to_sign(0).sha256)
    assert large.to_sign(0).fd is not None
    message = pae(PAYLOAD_TYPE, payload)
    assert content(large.to_sign(0).fd, len(message)) == message == bytes(large.to_sign(0).message)
    to_sign = (inline.to_sign(0).sha256, message)
    made_by = [Made(key.sign(what), key.public) for key, what in zip(KEYS, to_sign, strict=True)]
    inline.signatures = large.signatures = list(made_by)
    expected = signatures.assemble(inline, payload)
    made = assemble(large)
    for one, other in zip(made.sealed.signatures, expected.signatures, strict=True):
        assert isinstance(one.bundle, Descriptor)
        assert content(made.fds[one.bundle.fd], one.bundle.size) == other.bundle
        assert (one.bundle_sha256, one.envelope_sha256) == (other.bundle_sha256, other.envelope_sha256)
        assert (one.key, one.keyid, one.version) == (other.key, other.keyid, other.version)
    assert isinstance(made.sealed.envelope, Descriptor)
    assert content(made.fds[made.sealed.envelope.fd], made.sealed.envelope.size) == expected.envelope
    discard(made)
    assert isinstance(large.to_sign(0).message, mmap.mmap)
    large.close_descriptors()
    assert open_here() == before


def test_no_message_is_made_where_every_key_signs_the_digest() -> None:
    payload = payload_of(SLICE_BYTES + 7)
    _, large = jobs(payload, KEYS[0])
    hash_payload(large)
    assert large.to_sign(0).fd is None
    assert large.to_sign(0).message == b""
    assert large.to_sign(0).sha256 == hashlib.sha256(pae(PAYLOAD_TYPE, payload)).digest()
    large.close_descriptors()


def test_a_failure_half_way_leaves_no_descriptor_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    _, large = jobs(payload_of(PART_BYTES * 2), *KEYS)
    before = open_here()
    large.signatures = [Made(b"a", KEYS[0].public), Made(b"b", KEYS[1].public)]
    written = os.write
    calls = 0

    def full(fd: int, data: memoryview) -> int:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise OSError(28, "No space left on device")
        return written(fd, data)

    monkeypatch.setattr("signerd.sealer.large.os.write", full)
    for work in (hash_payload, assemble):
        calls = 0
        with pytest.raises(OSError, match="No space"):
            work(large)
        assert open_here() == before
    large.close_descriptors()


def test_discarding_an_error_is_nothing() -> None:
    before = open_here()
    discard(Fault("internal", "aside", "the signer failed"))
    assert open_here() == before


def test_in_profile_dsse_the_envelope_is_large_and_one_bundle_is() -> None:
    before = open_here()
    payload = payload_of(PART_BYTES + 5)
    inline, large = jobs(payload, *reversed(KEYS), profile="dsse")
    inline.hash_inline(payload)
    hash_payload(large)
    message = pae(PAYLOAD_TYPE, payload)
    inline.signatures = large.signatures = [
        Made(key.sign(what), key.public)
        for key, what in zip(KEYS[::-1], (message, inline.to_sign(0).sha256), strict=True)
    ]
    expected = signatures.assemble(inline, payload)
    made = assemble(large)
    assert len(made.fds) == 2
    first, companion = made.sealed.signatures
    assert (first.bundle, first.bundle_sha256, first.envelope_sha256) == (b"", "", "")
    assert isinstance(companion.bundle, Descriptor)
    assert content(made.fds[companion.bundle.fd], companion.bundle.size) == expected.signatures[1].bundle
    assert isinstance(made.sealed.envelope, Descriptor)
    assert content(made.fds[made.sealed.envelope.fd], made.sealed.envelope.size) == expected.envelope
    assert made.sealed.envelope_sha256 == expected.envelope_sha256 != ""
    discard(made)
    assert isinstance(large.to_sign(0).message, mmap.mmap)
    large.close_descriptors()
    assert open_here() == before


@pytest.mark.parametrize("size", [1, PART_BYTES, 2 * PART_BYTES + 1])
def test_messages_of_a_large_payload_are_those_of_an_inline_one(size: int) -> None:
    before = open_here()
    payload = payload_of(size)
    inline, large = jobs(payload, *KEYS, profile="cose", envelope=False)
    inline.hash_inline(payload)
    hash_payload(large)
    for place, key in enumerate(KEYS):
        ours, theirs = large.to_sign(place), inline.to_sign(place)
        assert ours.sha256 == theirs.sha256
        assert (ours.fd is None) == key.public.prehash
        assert bytes(ours.message) == theirs.message
        del ours  # which maps a memfd
    inline.signatures = large.signatures = [
        Made(KEYS[0].sign(inline.to_sign(0).sha256), KEYS[0].public),
        Made(KEYS[1].sign(bytes(inline.to_sign(1).message)), KEYS[1].public),
    ]
    made = assemble(large)
    for one, other in zip(made.sealed.signatures, assemble_cose(inline, payload).signatures, strict=True):
        assert isinstance(one.bundle, Descriptor)
        assert content(made.fds[one.bundle.fd], one.bundle.size) == other.bundle
        assert (one.bundle_sha256, one.envelope_sha256) == (other.bundle_sha256, "")
    assert made.sealed.envelope is None
    discard(made)
    large.close_descriptors()
    assert open_here() == before


def test_a_failure_half_way_through_messages_leaves_no_descriptor_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = (KEYS[1], SoftKey("file:ed2", "Ed25519"))
    _, large = jobs(payload_of(PART_BYTES * 2), *keys, profile="cose", envelope=False)
    before = open_here()
    large.signatures = [Made(b"a", key.public) for key in keys]
    written, calls = os.write, 0

    def full(fd: int, data: memoryview) -> int:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise OSError(28, "No space left on device")
        return written(fd, data)

    monkeypatch.setattr("signerd.sealer.large.os.write", full)
    for work in (hash_payload, assemble):
        calls = 0
        with pytest.raises(OSError, match="No space"):
            work(large)
        assert open_here() == before
    large.close_descriptors()
