from datetime import timedelta

import pytest
from cryptography import x509

from fakes.sigstore import NOW, CtLog, Sigstore, new_key
from signerd.errors import Refusal
from signerd.verification.certificates import load_certificate
from signerd.verification.sct import verify_embedded_scts
from signerd.verification.trusted_root import parse_trusted_root

STACK = Sigstore()
KEY = new_key()
LOGS = parse_trusted_root(STACK.trusted_root()).ct_logs


def count(leaf: bytes, issuer: x509.Certificate = STACK.ca.certificate) -> int:
    return verify_embedded_scts(load_certificate(leaf), issuer, LOGS)


def refused(leaf: bytes, issuer: x509.Certificate = STACK.ca.certificate) -> str:
    with pytest.raises(Refusal) as caught:
        count(leaf, issuer)
    assert caught.value.code == "verification.failed"
    return caught.value.reason


def test_an_sct_of_a_known_log() -> None:
    assert count(STACK.leaf(KEY)) == 1
    assert count(STACK.leaf(KEY, scts=[CtLog(), STACK.ct])) == 1
    assert count(STACK.leaf(KEY, sct_at=NOW + timedelta(milliseconds=7))) == 1


def test_what_is_not_one() -> None:
    assert refused(STACK.leaf(KEY, scts=[])) == "sct_missing"
    assert refused(STACK.leaf(KEY, scts=[CtLog()])) == "sct_log_unknown"
    assert refused(STACK.leaf(KEY, sct_at=NOW - timedelta(days=200))) == "sct_window"
    # The issuer's key is signed too: another authority's certificate cannot borrow the SCT.
    assert refused(STACK.leaf(KEY), STACK.root.certificate) == "sct_signature"


def test_a_log_that_signs_with_another_key_than_its_own() -> None:
    class Lying(CtLog):
        @property
        def log_id(self) -> bytes:
            return STACK.ct.log_id

    assert refused(STACK.leaf(KEY, scts=[Lying()])) == "sct_signature"
    assert refused(STACK.leaf(KEY, scts=[STACK.ct, Lying()])) == "sct_signature"
