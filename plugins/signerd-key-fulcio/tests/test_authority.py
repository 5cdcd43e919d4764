import time
from functools import partial
from pathlib import Path

import pytest

from fakes.fulcio import ISSUER, SUBJECT, FakeFulcio, fake_fulcio, jwt
from signerd.errors import SignerdError
from signerd.network.exchange import Exchange
from signerd.verification.keyless import KeylessTrust
from signerd.verification.oidc import read_claims
from signerd_key_fulcio.authority import Authority, Certified


class Clock:
    """Monotonic seconds that stand still until they are moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def authority(fulcio: FakeFulcio, folder: Path, clock: Clock, now: float | None = None) -> Authority:
    ca, log = fulcio.files(folder)
    trust = KeylessTrust.read(ca.read_bytes(), [log.read_bytes()])
    return Authority(fulcio.url, partial(Exchange().within, 5), trust, lambda: now or time.time(), clock)


def certify(asked: Authority, identity: str | None = None) -> Certified:
    token = jwt()
    return asked.certify(token, read_claims(token), identity)


def reason(asked: Authority, identity: str | None = None) -> str:
    with pytest.raises(SignerdError) as caught:
        certify(asked, identity)
    return caught.value.reason


def test_each_certificate_is_of_a_new_key(tmp_path: Path) -> None:
    with fake_fulcio() as fulcio:
        asked = authority(fulcio, tmp_path, Clock())
        first, second = certify(asked), certify(asked, SUBJECT)
    assert (first.vouched.leaf.san, first.vouched.leaf.issuer) == (SUBJECT, ISSUER)
    assert first.private.public_key() == first.vouched.leaf.certificate.public_key()
    assert first.vouched.leaf.key != second.vouched.leaf.key


def test_it_is_asked_again_a_second_after_it_was_silent(tmp_path: Path) -> None:
    clock = Clock()
    with fake_fulcio() as fulcio:
        asked = authority(fulcio, tmp_path, clock)
        fulcio.answer = lambda _: (503, "text/plain", b"")
        assert reason(asked) == "fulcio_status_503"
        fulcio.answer = None
        clock.seconds += 0.9
        assert reason(asked) == "fulcio_status_503"
        clock.seconds += 0.2
        certify(asked)
        assert len(fulcio.asked) == 2


@pytest.mark.parametrize(("off_s", "said"), [(3600, "certificate_expired"), (-3600, "certificate_not_yet_valid")])
def test_by_a_clock_that_is_wrong_no_certificate_is_good(tmp_path: Path, off_s: int, said: str) -> None:
    with fake_fulcio() as fulcio:
        assert reason(authority(fulcio, tmp_path, Clock(), time.time() + off_s)) == said
