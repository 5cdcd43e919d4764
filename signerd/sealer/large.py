"""Payloads that came as a memfd: hashed, framed and assembled aside, in slices, never as one object in memory.

A call over 50 MB holds the interpreter's lock for a tenth of a second, and every other caller waits for it. So
base64 and copies go in slices; hashing releases the lock by itself.
"""

import hashlib
import mmap
import os
from typing import Final

from signerd.attestation.bundle import dsse_envelope_bytes
from signerd.attestation.dsse import encode_base64, encode_envelope
from signerd.errors import SignerdError
from signerd.host.memfd import seal_memfd
from signerd.sealer.cose import cose_parts, sealed_cose
from signerd.sealer.framing import Framed
from signerd.sealer.job import Job
from signerd.sealer.signatures import bundle_of, rekor_requests, sealed_signature, signers
from signerd.wire.links import Sealed
from signerd.wire.params import Descriptor

__all__ = ["PART_BYTES", "SLICE_BYTES", "LargeSealed", "assemble", "discard", "hash_payload"]

SLICE_BYTES: Final = 24 * 1024
"""A multiple of 3, so that the base64 of the slices is that of the whole; and so short that the loop, which waits for
the interpreter's lock at each of its system calls meanwhile, gets it back within some 20 µs."""
PART_BYTES: Final = 16 * SLICE_BYTES
"""What is hashed, read and written at once. These let go of the lock themselves, and each time they take it back the
loop may have to wait: so seldom."""
_MARK: Final = b"@"
"""Stands for the payload in a template: no base64, no JSON key and no media type has it."""


class LargeSealed:
    """A ``Sealed`` whose large values are memfds: ``fds`` in the order of their index in the frame."""

    __slots__ = ("fds", "sealed")

    def __init__(self, sealed: Sealed, fds: tuple[int, ...]) -> None:
        self.sealed = sealed
        self.fds = fds


def hash_payload(job: Job) -> None:
    """Hash the payload's memfd, which was found to be sealed, and what is signed of it; make that a memfd too where a
    key signs all of it."""
    assert job.payload_fd is not None
    descriptor = job.item.payload
    assert isinstance(descriptor, Descriptor)
    statement = hashlib.sha256()
    framings = [_Framing(frame, whole) for frame, whole in job.frames(descriptor.size)]
    try:
        for framing in framings:
            framing.begin()
        with mmap.mmap(job.payload_fd, descriptor.size, prot=mmap.PROT_READ) as payload, memoryview(payload) as view:
            for at in range(0, descriptor.size, PART_BYTES):
                with view[at : at + PART_BYTES] as part:
                    statement.update(part)
                    for framing in framings:
                        framing.update(part)
        job.framed = tuple([framing.end(descriptor.size) for framing in framings])
    except BaseException:
        for framing in framings:
            framing.close()
        raise
    job.statement_sha256 = statement.hexdigest()
    job.note_digests()


class _Framing:
    """What is signed, while it is hashed and, where a key wants the ``whole``, written into a memfd."""

    __slots__ = ("_digest", "_fd", "_frame", "_whole")

    def __init__(self, frame: bytes, whole: bool) -> None:  # as the job says of each
        self._frame = frame
        self._whole = whole
        self._digest = hashlib.sha256(frame)
        self._fd: int | None = None

    def begin(self) -> None:
        if self._whole:
            self._fd = os.memfd_create("to-sign", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            _write(self._fd, self._frame)

    def update(self, part: memoryview) -> None:
        self._digest.update(part)
        if self._fd is not None:
            _write(self._fd, part)

    def end(self, size: int) -> Framed:
        """Return it; its memfd, sealed now, is the taker's only if no other framing fails."""
        if self._fd is None:
            return Framed(self._digest.digest())
        seal_memfd(self._fd)
        message = mmap.mmap(self._fd, len(self._frame) + size, prot=mmap.PROT_READ)
        return Framed(self._digest.digest(), message, self._fd)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)


def assemble(job: Job) -> LargeSealed:
    """Return envelope and bundles, or messages, as sealed memfds; the same bytes as those of an inline payload would
    be."""
    assert job.payload_fd is not None
    if job.output.form == "messages":
        return _assemble_cose(job)
    payload_type = job.item.payload_type
    fds: list[int] = []
    signatures = []
    try:
        requests = rekor_requests(job)
        for place, (pinned, made) in enumerate(zip(job.keys, job.signatures, strict=True)):
            assert made is not None
            if place not in job.bundled:
                signatures.append(sealed_signature(pinned, made))
                continue
            bundle = bundle_of(_MARK, payload_type, made, *job.beside(place))
            envelope = dsse_envelope_bytes(_MARK, payload_type, made.signature)
            fd, size, digests = _fill(job, bundle, envelope)
            fds.append(fd)
            memfd = Descriptor(len(fds) - 1, size)
            signatures.append(sealed_signature(pinned, made, memfd, *digests, requests[place]))
        combined, digest = None, ""
        leaves = job.output.form == "envelope"
        if job.item.envelope or leaves:
            template = encode_envelope(_MARK, payload_type, signers(job))
            fd, size, (whole, _) = _fill(job, template, template)
            digest = whole if leaves else ""
            fds.append(fd)
            combined = Descriptor(len(fds) - 1, size)
    except BaseException:
        _close(fds)
        raise
    sealed = Sealed(
        tuple(signatures),
        job.statement_sha256,
        job.decision_digest,
        job.leaf_hash,
        job.index,
        combined,
        digest,
        job.presence.shown if job.presence else None,
    )
    return LargeSealed(sealed, tuple(fds))


def _assemble_cose(job: Job) -> LargeSealed:
    assert isinstance(job.item.payload, Descriptor)
    fds: list[int] = []
    messages: list[tuple[bytes | Descriptor, str]] = []
    try:
        for before, after in cose_parts(job, job.item.payload.size):
            fd, size, digest = _fill_raw(job, before, after)
            fds.append(fd)
            messages.append((Descriptor(len(fds) - 1, size), digest))
    except BaseException:
        _close(fds)
        raise
    return LargeSealed(sealed_cose(job, messages), tuple(fds))


def discard(result: LargeSealed | SignerdError) -> None:
    """Close what nobody wants any more."""
    if isinstance(result, LargeSealed):
        _close(list(result.fds))


def _fill(job: Job, template: bytes, hashed: bytes) -> tuple[int, int, tuple[str, str]]:
    """Write ``template`` with the payload's base64 in its mark into a sealed memfd; return it, its size, and the
    SHA-256 of the whole and of ``hashed`` filled likewise."""
    # The payload comes before anything that a log could have written.
    before, after = template.split(_MARK, 1)
    also_before, also_after = hashed.split(_MARK, 1)
    whole, also = hashlib.sha256(before), hashlib.sha256(also_before)
    assert job.payload_fd is not None
    fd = os.memfd_create("bundle", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        size = len(before) + len(after)
        _write(fd, before)
        at = 0
        while part := os.pread(job.payload_fd, PART_BYTES, at):
            at += len(part)
            text = b"".join([encode_base64(part[i : i + SLICE_BYTES]) for i in range(0, len(part), SLICE_BYTES)])
            whole.update(text)
            also.update(text)
            _write(fd, text)
            size += len(text)
        _write(fd, after)
        seal_memfd(fd)
    except BaseException:
        os.close(fd)
        raise
    whole.update(after)
    also.update(also_after)
    return fd, size, (whole.hexdigest(), also.hexdigest())


def _fill_raw(job: Job, before: bytes, after: bytes) -> tuple[int, int, str]:
    """Write the payload between ``before`` and ``after`` into a sealed memfd; return it, its size and its SHA-256."""
    assert job.payload_fd is not None
    digest = hashlib.sha256(before)
    fd = os.memfd_create("cose", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        _write(fd, before)
        at = 0
        while part := os.pread(job.payload_fd, PART_BYTES, at):
            at += len(part)
            digest.update(part)
            _write(fd, part)
        _write(fd, after)
        seal_memfd(fd)
    except BaseException:
        os.close(fd)
        raise
    digest.update(after)
    return fd, len(before) + at + len(after), digest.hexdigest()


def _write(fd: int, data: bytes | memoryview) -> None:
    at = 0
    with memoryview(data) as view:
        while at < len(view):
            with view[at:] as rest:
                at += os.write(fd, rest)


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
