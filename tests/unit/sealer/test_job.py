import hashlib
import os

import pytest

from fakes.sealing import Bench, SoftKey
from signerd.attestation.dsse import pae
from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.sealer.framing import Framed
from signerd.sealer.job import Job, Violation

BENCH = Bench()
PREHASH, WHOLE = SoftKey(), SoftKey("file:ed", "Ed25519")


def job(*keys: SoftKey) -> Job:
    return Job(BENCH.item(), tuple(key.pinned() for key in keys), 2000.0)


def test_it_is_durable_once_it_has_a_place_in_the_log() -> None:
    made = job(PREHASH)
    assert not made.durable
    made.index = 0
    assert made.durable


@pytest.mark.parametrize(("keys", "wants"), [((PREHASH,), False), ((WHOLE,), True), ((PREHASH, WHOLE), True)])
def test_the_digests_are_those_of_what_is_signed(keys: tuple[SoftKey, ...], wants: bool) -> None:
    made = job(*keys)
    made.hash_inline(b"payload")
    message = pae(PAYLOAD_TYPE, b"payload")
    assert made.statement_sha256 == hashlib.sha256(b"payload").hexdigest()
    assert made.to_sign(0).sha256 == hashlib.sha256(message).digest()
    assert made.wants_message is wants
    assert made.to_sign(0).message == (message if wants else b"")


def test_descriptors_are_closed_once_and_not_while_a_thread_reads_them() -> None:
    made = job(PREHASH)
    fds = os.memfd_create("a"), os.memfd_create("b")
    made.payload_fd, made.framed = fds[0], (Framed(b"", b"", fds[1]),)
    made.aside = True
    made.close_descriptors()
    assert [os.fstat(fd).st_size for fd in fds] == [0, 0]
    made.aside = False
    made.close_descriptors()
    made.close_descriptors()
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_a_violation_says_what_and_under_which_id() -> None:
    violation = Violation("foreign_key", "01A")
    assert (str(violation), violation.reason, violation.audit_id) == ("foreign_key", "foreign_key", "01A")
