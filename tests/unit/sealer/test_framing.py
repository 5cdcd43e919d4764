import hashlib
import os

import pytest

from fakes.sealing import SoftKey
from signerd.attestation.cose import protected_header
from signerd.sealer.framing import Framed, cose_protected, framed_inline


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_signed_is_kept_where_a_key_wants_all_of_it(whole: bool) -> None:
    framed = framed_inline(b"frame ", b"payload", whole=whole)
    assert framed.sha256 == hashlib.sha256(b"frame payload").digest()
    assert framed.message == (b"frame payload" if whole else b"")
    assert framed.fd is None
    framed.close()


def test_its_memfd_is_closed_with_it() -> None:
    fd = os.memfd_create("to-sign")
    Framed(b"", b"", fd).close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@pytest.mark.parametrize("algorithm", ["ES256", "Ed25519"])
def test_the_header_names_the_key_by_the_digest_of_its_spki(algorithm: str) -> None:
    key = SoftKey(algorithm=algorithm)
    digest = hashlib.sha256(key.public.spki).digest()
    assert cose_protected(key.public) == protected_header(algorithm, digest)
