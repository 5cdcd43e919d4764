import os
from collections.abc import Iterator

import pytest

from fakes.sealing import Bench, SoftKey
from signerd.host.memfd import read_sealed
from signerd.sealer import large
from signerd.sealer.asking import calls_of
from signerd.sealer.job import Job
from signerd.sealer.worker_call import Call, CallResult
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import SignParams


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(SoftKey("file:a"), SoftKey("file:b", "Ed25519"))
    yield made
    made.close()


def asked(job: Job) -> list[tuple[str, Call]]:
    judged: list[tuple[int, CallResult]] = []
    calls = list(calls_of(job, lambda _, place, result: judged.append((place, result))))
    for _, call in calls:
        call.done(b"")  # type: ignore[arg-type]  # handed on as it is
    assert judged == [(place, b"") for place in range(len(calls))]
    return calls


def test_a_key_gets_the_digest_or_all_that_was_framed(bench: Bench) -> None:
    job = Job(bench.item(b"{}"), tuple(key.pinned() for key in bench.keys), 0.0)
    job.hash_inline(b"{}")
    (first, one), (second, other) = asked(job)
    assert (first, second) == ("soft", "soft")
    assert one.params == SignParams("file:a", job.framed[0].sha256)
    assert other.params == SignParams("file:b", job.framed[0].message)  # type: ignore[arg-type]  # inline: bytes
    assert one.fds == other.fds == ()


def test_what_is_large_goes_as_a_memfd_of_its_own(bench: Bench) -> None:
    fd = os.memfd_create("payload", os.MFD_ALLOW_SEALING)
    os.write(fd, b"{}")
    job = Job(bench.item(Descriptor(0, 2)), (bench.keys[1].pinned(),), 0.0, fd)
    large.hash_payload(job)
    ((_, call),) = asked(job)
    assert isinstance(call.params, SignParams)
    assert isinstance(call.params.message, Descriptor)
    job.close_descriptors()
    assert read_sealed(call.fds[0], call.params.message.size, 1 << 20).endswith(b" 2 {}")
    os.close(call.fds[0])
