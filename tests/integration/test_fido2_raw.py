"""A key inside an authenticator that signs the PAE itself (previewSign), from enrolment to stock cosign."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fakes.fido2_device import SoftAuthenticator
from running.callers import request, sign_until
from running.configured import until
from running.daemon import Running, running
from running.enrolled import enrolled
from running.shell import cosign_accepts, sign_real_sbom
from signerd.errors import SignerdError
from signerd.verification.bundle import verify_bundle
from signerd.verification.keys import PublicKey
from signerd_client import Signer

KEY = "fido2:raw/release"
SPLIT, SPLIT_ARKG = -300, -65539
Start = Callable[..., Running]


@pytest.fixture
def start(authenticator: SoftAuthenticator, tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as started:

        def begin(number: int = SPLIT_ARKG, *, touch_s: float = 10) -> Running:
            authenticator.extensions, authenticator.raw_algorithms = ("previewSign",), (number,)
            text = enrolled(tmp_path, authenticator, KEY, touch_s=touch_s, settings="raw_sign = true")
            base = tmp_path / "daemon"
            base.mkdir()
            return started.enter_context(running(base, config=text))

        yield begin


@pytest.mark.needs("cosign")
@pytest.mark.parametrize("number", [SPLIT, SPLIT_ARKG])
def test_a_real_sbom_signed_inside_the_authenticator_is_accepted_by_stock_cosign(
    start: Start, authenticator: SoftAuthenticator, tmp_path: Path, number: int
) -> None:
    sign_real_sbom(start(number), tmp_path, "--out", "b.json")
    cosign_accepts(tmp_path, "b.json")
    assert authenticator.asked == 3


def test_each_signature_wants_a_touch_of_its_own(start: Start, authenticator: SoftAuthenticator) -> None:
    daemon = start()
    with Signer.connect(daemon.socket) as signer:
        described = signer.describe(KEY)
        assert (described.key, described.algorithm, described.uses) == (KEY, "ES256", ("dsse", "cose"))
        public = PublicKey.from_spki(bytes(described.spki))
        for number in range(3):
            (bundle,) = signer.sign_dsse(request(number)).bundles
            assert verify_bundle(bundle, public).verified
    assert authenticator.asked == 5


@pytest.mark.parametrize("flaw", ["another raw key", "another digest"])
def test_a_signature_by_another_key_or_over_another_message_is_released_to_nobody(
    start: Start, authenticator: SoftAuthenticator, flaw: str
) -> None:
    daemon = start()
    worker = daemon.child("key")
    authenticator.flaws.add(flaw)
    with Signer.connect(daemon.socket) as signer, pytest.raises(SignerdError) as caught:
        signer.sign_dsse(request())
    assert caught.value.code == "key.backend_fault"
    until(lambda: not Path(f"/proc/{worker}").exists())
    until(lambda: [row["outcome"] for row in daemon.leaves() if row["kind"] == "outcome"] == ["fault"])
    authenticator.flaws.clear()
    sign_until(daemon.socket, 30)


def test_without_a_touch_nothing_is_signed(start: Start, authenticator: SoftAuthenticator) -> None:
    daemon = start(touch_s=1)
    with Signer.connect(daemon.socket) as signer:
        authenticator.touched_at_once = False
        with pytest.raises(SignerdError) as caught:
            signer.sign_dsse(request(1))
        assert (caught.value.code, caught.value.reason) == ("key.backend_unavailable", "no_touch")
        assert authenticator.cancelled == 1
        authenticator.flaws.add("declined")
        with pytest.raises(SignerdError) as caught:
            signer.sign_dsse(request(2))
        assert (caught.value.code, caught.value.reason) == ("key.backend_unavailable", "denied")
        authenticator.flaws.clear()
        authenticator.touched_at_once = True
        assert signer.sign_dsse(request(3)).bundles
