import hashlib
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fakes.fulcio import ISSUER, Asked, FakeFulcio, fake_fulcio, jwt, now
from fakes.sigstore import CtLog, Issued, new_key
from fakes.tls_front import TlsAuthority, tls_front
from signerd.contracts.values import SignatureResult, SignFor
from signerd.errors import SignerdError
from signerd.verification.certificates import SigningCertificate
from signerd_key_fulcio.backend import FulcioBackend, signerd_key_backends

DIGEST = hashlib.sha256(b"message").digest()
Answer = Callable[[FakeFulcio, Asked], tuple[int, str, bytes]]


@pytest.fixture
def fulcio() -> Iterator[FakeFulcio]:
    with fake_fulcio() as served:
        yield served


@pytest.fixture
def backend(fulcio: FakeFulcio, tmp_path: Path) -> FulcioBackend:
    return FulcioBackend(fulcio.settings(tmp_path))


def sign(backend: FulcioBackend, token: str | None = None, **signer: Any) -> SignatureResult:
    return backend.sign_for("fulcio:ci", DIGEST, SignFor(identity_token=token or jwt(), **signer))


def refused(backend: FulcioBackend, token: str | None = None) -> tuple[str, str]:
    """How it refuses. No text repeats the token."""
    token = token or jwt()
    with pytest.raises(SignerdError) as caught:
        sign(backend, token)
    for text in (str(caught.value), caught.value.public, repr(caught.value), str(caught.value.args)):
        assert token not in text
        assert not any(part in text for part in token.split(".") if len(part) > 8)
    return caught.value.code, caught.value.reason


def test_a_signature_is_by_the_certificate_that_comes_with_it(backend: FulcioBackend, fulcio: FakeFulcio) -> None:
    token = jwt(sub="https://ci.example/one")
    signed = sign(backend, token)
    leaf = SigningCertificate.read(signed.chain[0])
    leaf.key.verify(signed.signature, b"message")
    assert (leaf.san, leaf.issuer, leaf.key.keyid) == ("https://ci.example/one", ISSUER, signed.keyid)
    assert len(signed.chain) == 3
    assert fulcio.asked[0].claims["sub"] == "https://ci.example/one"


def test_describing_asks_nobody(backend: FulcioBackend, fulcio: FakeFulcio) -> None:
    described = backend.describe("fulcio:ci")
    assert (described.keyid, described.spki, described.capabilities) == ("", b"", ("keyless",))
    assert fulcio.asked == []


def test_one_certificate_serves_many_signatures_of_one_token(backend: FulcioBackend, fulcio: FakeFulcio) -> None:
    token = jwt()
    assert len({sign(backend, token, tenant="a", audit_id=str(n)).chain for n in range(20)}) == 1
    assert len(fulcio.asked) == 1


def test_no_certificate_serves_another_identity_tenant_or_token(backend: FulcioBackend, fulcio: FakeFulcio) -> None:
    token = jwt(sub="https://a.example")
    keyids = {sign(backend, token, tenant="a").keyid, sign(backend, token, tenant="b").keyid}
    keyids.add(sign(backend, jwt(sub="https://b.example"), tenant="a").keyid)
    # The same claims in other bytes: nobody has proved that this one is genuine.
    keyids.add(sign(backend, jwt(sub="https://a.example", jti="forged"), tenant="a").keyid)
    assert len(keyids) == len(fulcio.asked) == 4


def test_a_certificate_near_its_end_is_replaced(fulcio: FakeFulcio, tmp_path: Path) -> None:
    backend = FulcioBackend(fulcio.settings(tmp_path, margin_s=120))
    token = jwt()
    fulcio.answer = lambda asked: fulcio.chain(fulcio.certificate(asked, end=now() + timedelta(seconds=100)))
    assert sign(backend, token).keyid != sign(backend, token).keyid
    fulcio.answer = None
    assert sign(backend, token).keyid == sign(backend, token).keyid
    assert len(fulcio.asked) == 3


def test_an_expired_token_signs_nothing_although_its_certificate_lives(
    backend: FulcioBackend, fulcio: FakeFulcio, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = jwt(exp=int(time.time()) + 100)
    sign(backend, token)
    later = time.time() + 101
    monkeypatch.setattr(time, "time", lambda: later)
    assert refused(backend, token) == ("key.forbidden", "token_expired")
    assert len(fulcio.asked) == 1


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("no token", "token_malformed"),
        ("a.b", "token_malformed"),
        ({"exp": None}, "token_malformed"),
        ({"exp": True}, "token_malformed"),
        ({"iss": None}, "token_malformed"),
        ("A" * 20_000, "token_malformed"),
        ({"exp": 1}, "token_expired"),
        ({"nbf": 4_000_000_000}, "token_not_yet_valid"),
        ({"aud": "another"}, "token_audience"),
        ({"aud": ["sigstore", "another"]}, "token_audience"),
        ({"iss": "https://stranger.example"}, "token_issuer"),
        ({"sub": None}, "token_identity"),
    ],
)
def test_a_token_that_is_not_taken_reaches_nobody(
    backend: FulcioBackend, fulcio: FakeFulcio, token: str | dict[str, Any], reason: str
) -> None:
    # Made here and not when the tests are collected, which may be longer ago than a token lives.
    assert refused(backend, token if isinstance(token, str) else jwt(**token)) == ("key.forbidden", reason)
    assert fulcio.asked == []


def test_a_key_that_signs_by_tokens_signs_nothing_without_one(backend: FulcioBackend) -> None:
    with pytest.raises(SignerdError) as caught:
        backend.sign("fulcio:ci", DIGEST)
    assert caught.value.reason == "token_missing"


def certificate(**lie: Any) -> Answer:
    return lambda fulcio, asked: fulcio.chain(fulcio.certificate(asked, **lie))


def under_another_authority(fulcio: FakeFulcio, asked: Asked) -> tuple[int, str, bytes]:
    root = Issued.root("ca root")
    ca = root.intermediate("ca")
    return fulcio.chain(fulcio.certificate(asked, ca=ca), ca, root)


def with_a_foreign_chain(fulcio: FakeFulcio, asked: Asked) -> tuple[int, str, bytes]:
    root = Issued.root("ca root")
    return fulcio.chain(fulcio.certificate(asked), root.intermediate("ca"), root)


HOUR = timedelta(hours=1)
NO_TEXTS = b'{"signedCertificateEmbeddedSct":{"chain":{"certificates":[1]}}}'


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (certificate(key=new_key()), "certificate_of_another_key"),
        (certificate(san="https://somebody.else"), "identity_mismatch"),
        (certificate(issuer="https://another.issuer"), "issuer_mismatch"),
        (certificate(scts=[]), "sct_missing"),
        (certificate(scts=[CtLog()]), "sct_log_unknown"),
        (certificate(usage=None), "certificate_usage"),
        (certificate(start=now() - 2 * HOUR, end=now() - HOUR), "certificate_expired"),
        (certificate(start=now() + HOUR, end=now() + 2 * HOUR), "certificate_not_yet_valid"),
        (under_another_authority, "authority_unknown"),
        (with_a_foreign_chain, "chain_foreign"),
        (lambda fulcio, _: (302, "text/html", b""), "redirect"),
        (lambda fulcio, _: (200, "text/html", b"<html>"), "answer_type"),
        (lambda fulcio, _: (200, "application/json", b"<html>"), "answer_shape"),
        (lambda fulcio, _: (200, "application/json", b"[]"), "answer_shape"),
        (lambda fulcio, _: (200, "application/json", b"[" * 100_000), "answer_shape"),
        (lambda fulcio, _: (200, "application/json", NO_TEXTS), "answer_shape"),
        (lambda fulcio, _: (200, "application/json", b" " * (256 * 1024 + 1)), "answer_too_large"),
        (lambda fulcio, _: (204, "application/json", b""), "status"),
    ],
)  # fmt: skip
def test_what_the_authority_answers_is_believed_only_as_far_as_it_is_proven(
    backend: FulcioBackend, fulcio: FakeFulcio, answer: Answer, reason: str
) -> None:
    fulcio.answer = lambda asked: answer(fulcio, asked)
    assert refused(backend) == ("key.backend_fault", reason)
    # Nothing of it is kept.
    fulcio.answer = None
    sign(backend)


def test_an_authority_whose_clock_is_a_little_ahead_is_believed(backend: FulcioBackend, fulcio: FakeFulcio) -> None:
    fulcio.answer = lambda asked: fulcio.chain(fulcio.certificate(asked, start=now() + timedelta(seconds=5)))
    sign(backend)


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_token_that_the_authority_refuses_is_forbidden(
    backend: FulcioBackend, fulcio: FakeFulcio, status: int
) -> None:
    token = jwt()
    fulcio.answer = lambda _: (status, "application/json", f'{{"message": "{token}"}}'.encode())
    assert refused(backend, token) == ("key.forbidden", "token_refused")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_authority_that_cannot_answer_now_is_not_asked_again_at_once(
    backend: FulcioBackend, fulcio: FakeFulcio, status: int
) -> None:
    fulcio.answer = lambda _: (status, "application/json", b"{}")
    assert refused(backend) == ("key.backend_unavailable", f"fulcio_status_{status}")
    assert refused(backend) == ("key.backend_unavailable", f"fulcio_status_{status}")
    assert len(fulcio.asked) == 1


def test_an_authority_that_hangs_or_is_not_there_costs_its_time_once(fulcio: FakeFulcio, tmp_path: Path) -> None:
    backend = FulcioBackend(fulcio.settings(tmp_path, timeout_s=0.3))
    fulcio.before = lambda: time.sleep(2)
    started = time.monotonic()
    assert refused(backend) == ("key.backend_unavailable", "fulcio_timeout")
    assert refused(backend) == ("key.backend_unavailable", "fulcio_timeout")
    assert time.monotonic() - started < 1.9
    gone = FulcioBackend(fulcio.settings(tmp_path, url="http://127.0.0.1:1"))
    assert refused(gone) == ("key.backend_unavailable", "fulcio_unreachable")


def test_another_token_in_the_file_changes_the_certificate_only_with_its_holder(
    fulcio: FakeFulcio, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    keys = {"ci": {"token": f"file:{file}", "issuers": [ISSUER]}}
    backend = FulcioBackend(fulcio.settings(tmp_path, keys=keys))

    def put(token: str) -> str:
        fresh = tmp_path / "fresh"
        fresh.write_text(f"{token}\n")
        fresh.replace(file)
        return backend.sign("fulcio:ci", DIGEST).keyid

    first = put(jwt())
    assert put(jwt(jti="renewed")) == first
    assert len(fulcio.asked) == 1
    assert put(jwt(sub="https://somebody.else")) != first
    with pytest.raises(SignerdError, match="a name of its own"):
        sign(backend, jwt())
    file.unlink()
    with pytest.raises(SignerdError) as caught:
        backend.sign("fulcio:ci", DIGEST)
    assert caught.value.reason == "token_missing"


def test_a_pinned_identity_is_the_only_one(fulcio: FakeFulcio, tmp_path: Path) -> None:
    keys = {"ci": {"token": "request", "issuers": [ISSUER], "identity": "https://the.one"}}
    backend = FulcioBackend(fulcio.settings(tmp_path, keys=keys))
    sign(backend, jwt(sub="https://the.one"))
    assert refused(backend, jwt()) == ("key.backend_fault", "identity_mismatch")


def test_without_a_ct_log_no_sct_is_asked_for(fulcio: FakeFulcio, tmp_path: Path) -> None:
    settings = fulcio.settings(tmp_path, ct_log="none")
    del settings["ct_log_keys"]
    fulcio.answer = lambda asked: fulcio.chain(fulcio.certificate(asked, scts=[]))
    sign(FulcioBackend(settings))


@pytest.mark.parametrize("key", ["fulcio:", "fulcio:other", "file:ci", "ci", "fulcio:../ci", "fulcio:ci\n"])
def test_other_references_are_not_found(backend: FulcioBackend, key: str) -> None:
    for method in (backend.describe, lambda name: backend.sign(name, DIGEST)):
        with pytest.raises(SignerdError) as caught:
            method(key)
        assert caught.value.code == "key.not_found"


def test_unusable_files_are_said_in_a_sentence(fulcio: FakeFulcio, tmp_path: Path) -> None:
    settings = fulcio.settings(tmp_path)
    for name in ("ca", "ct_log_keys"):
        missing = str(tmp_path / "missing")
        with pytest.raises(ValueError, match="cannot be read"):
            signerd_key_backends({**settings, name: missing if name == "ca" else [missing]})
    os.truncate(str(settings["ca"]), 10)
    with pytest.raises(ValueError, match="no PEM of certificates"):
        signerd_key_backends(settings)


# Fulcio behind TLS, with an authority of one's own.


def over_tls(fulcio: FakeFulcio, url: str, ca: Path, folder: Path) -> tuple[str, str] | None:
    """Sign through the front; how that is refused, or None."""
    through = FulcioBackend(fulcio.settings(folder, url=url, tls_ca=str(ca)))
    try:
        sign(through)
    except SignerdError as error:
        return error.code, error.reason
    return None


def port_of(fulcio: FakeFulcio) -> int:
    return int(fulcio.url.rpartition(":")[2])


def test_an_authority_of_ones_own_vouches_for_the_server(fulcio: FakeFulcio, tmp_path: Path) -> None:
    ours, other = TlsAuthority(tmp_path), TlsAuthority(tmp_path, "strangers")
    unreachable = ("key.backend_unavailable", "fulcio_unreachable")
    with tls_front(ours.context(), port_of(fulcio)) as url:
        assert over_tls(fulcio, url, ours.file, tmp_path) is None
        assert over_tls(fulcio, url, other.file, tmp_path) == unreachable
        # Plain HTTP to a port that speaks TLS, and the other way round.
        assert over_tls(fulcio, url.replace("https", "http"), ours.file, tmp_path) is not None
    assert over_tls(fulcio, fulcio.url.replace("http", "https"), ours.file, tmp_path) == unreachable
    assert len(fulcio.asked) == 1, "nobody else has seen the token"


@pytest.mark.parametrize("wrong", [{"host": "127.0.0.2"}, {"expired": True}])
def test_a_server_that_is_not_who_it_should_be_sees_no_token(
    wrong: dict[str, Any], fulcio: FakeFulcio, tmp_path: Path
) -> None:
    ours = TlsAuthority(tmp_path)
    with tls_front(ours.context(**wrong), port_of(fulcio)) as url:
        assert over_tls(fulcio, url, ours.file, tmp_path) == ("key.backend_unavailable", "fulcio_unreachable")
    assert fulcio.asked == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_over_tls_is_not_followed(status: int, fulcio: FakeFulcio, tmp_path: Path) -> None:
    ours = TlsAuthority(tmp_path)
    fulcio.answer = lambda asked: (status, "text/html", b"elsewhere")
    with tls_front(ours.context(), port_of(fulcio)) as url:
        assert over_tls(fulcio, url, ours.file, tmp_path) == ("key.backend_fault", "redirect")
    assert len(fulcio.asked) == 1
