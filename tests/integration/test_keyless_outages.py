"""Fulcio down, slow, lying, in a real daemon: each caller hears why, nobody else is held up, and it comes back."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.fulcio import ISSUER, FakeFulcio, fake_fulcio, jwt
from fakes.sigstore import new_key
from running.callers import request
from running.configured import records, until
from running.daemon import Running, running
from running.keyless_config import keyless_configuration
from signerd.errors import SignerdError
from signerd.wire.params import Options
from signerd_client import Signer, SignRequest
from signerd_client.results import Signed


@pytest.fixture
def fulcio() -> Iterator[FakeFulcio]:
    with fake_fulcio() as served:
        yield served


@pytest.fixture
def daemon(fulcio: FakeFulcio, tmp_path: Path) -> Iterator[Running]:
    ca, log = fulcio.files(tmp_path)
    config = keyless_configuration(
        tmp_path, fulcio.url, ca, log, [ISSUER], keys={"ci": "request", "spare": "request"}, settings="timeout_s = 0.5"
    ).replace('[keys."fulcio:spare"]', '[keys."fulcio:spare"]\nfallback = "file:default"')
    with running(tmp_path, config=config) as started:
        yield started


def sign(daemon: Running, **options: Any) -> Signed:
    asked = request()
    given = SignRequest(
        subject=asked.subject,
        predicate_type=asked.predicate_type,
        predicate=asked.predicate,
        scanner_image_digest=asked.scanner_image_digest,
        options=Options(**options),
    )
    with Signer.connect(daemon.socket) as signer:
        return signer.sign_dsse(given)


def refused(daemon: Running, **options: Any) -> tuple[str, str]:
    with pytest.raises(SignerdError) as caught:
        sign(daemon, **options)
    return caught.value.code, caught.value.reason


def recovered(daemon: Running) -> None:
    """Ask until a certificate signs again: the worker may have to be started anew first."""

    def signs() -> bool:
        try:
            return bool(sign(daemon, identity_token=jwt()).bundles)
        except SignerdError as error:
            if error.code != "key.backend_unavailable":
                raise
            return False

    until(signs, 20)


def test_while_it_hangs_other_keys_sign_and_then_it_is_back(daemon: Running, fulcio: FakeFulcio) -> None:
    ended = threading.Event()

    def hang() -> None:
        ended.wait(20)

    fulcio.before = hang
    started = time.monotonic()
    assert refused(daemon, identity_token=jwt()) == ("key.backend_unavailable", "fulcio_timeout")
    assert refused(daemon, identity_token=jwt()) == ("key.backend_unavailable", "fulcio_timeout")
    assert time.monotonic() - started < 10
    assert sign(daemon, keys=("file:default",)).bundles
    ended.set()
    recovered(daemon)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((503, "text/plain", b""), ("key.backend_unavailable", "fulcio_status_503")),
        ((302, "text/html", b""), ("key.backend_fault", "redirect")),
        ((200, "text/html", b"<html>"), ("key.backend_fault", "answer_type")),
        ((200, "application/json", b" " * 300_000), ("key.backend_fault", "answer_too_large")),
        ((400, "application/json", b"{}"), ("key.forbidden", "token_refused")),
    ],
)
def test_what_it_answers_instead_is_told(
    daemon: Running, fulcio: FakeFulcio, answer: tuple[int, str, bytes], said: tuple[str, str]
) -> None:
    fulcio.answer = lambda _: answer
    assert refused(daemon, identity_token=jwt()) == said
    fulcio.answer = None
    recovered(daemon)


def test_another_key_s_certificate_gets_nothing_out(daemon: Running, fulcio: FakeFulcio) -> None:
    key = new_key()
    fulcio.answer = lambda asked: fulcio.chain(fulcio.certificate(asked, key=key))
    assert refused(daemon, identity_token=jwt()) == ("key.backend_fault", "certificate_of_another_key")
    until(lambda: list(records(daemon).values()) == [["fault"]])


def test_a_fallback_signs_while_it_is_down_and_says_so_unless_a_certificate_is_asked_for(
    daemon: Running, fulcio: FakeFulcio
) -> None:
    fulcio.answer = lambda _: (503, "text/plain", b"")
    signed = sign(daemon, keys=("fulcio:spare",), identity_token=jwt())
    assert signed.result.signing_identity[0].mode == "keyful"
    assert signed.receipt["decision"]["degraded"] == ["key_fallback"]
    found = refused(daemon, keys=("fulcio:spare",), identity_token=jwt(), mode="keyless")
    assert found[0] == "key.backend_unavailable"


def test_the_tenant_s_keyless_keys_are_listed_without_a_public_half(daemon: Running) -> None:
    with Signer.connect(daemon.socket) as signer:
        listed = {key.key: key for key in signer.keys().keys}
        described = signer.describe("fulcio:ci")
    assert (listed["fulcio:ci"].keyid, listed["fulcio:ci"].status) == ("", "active")
    assert (described.spki, described.public_key_pem) == (b"", "")
    assert "--certificate-identity" in described.verify_command[0].argv
