"""GOST keys behind the real daemon: an SBOM, signed, verified by OpenSSL's engine; and a host without that engine."""

import dataclasses
from pathlib import Path
from typing import cast

import pytest

from outside.gost import Gost
from running.callers import request
from running.daemon import RELEASE, running
from running.large import large_sbom
from running.profiled import profiled, reference
from running.shell import real_sbom, signerctl
from signerd.attestation.dsse import pae, parse_envelope
from signerd.errors import SignerdError
from signerd.verification.gost import LARGEST_MESSAGE
from signerd.verification.keys import PublicKey
from signerd.wire.params import Options
from signerd_client import Signer, SignRequest

pytestmark = pytest.mark.needs("gost-engine")
KEYS = ("gost256", "gost512")


def asked(predicate: bytes | None = None) -> SignRequest:
    wanted = dataclasses.replace(request(), options=Options(profile="dsse"))
    return wanted if predicate is None else dataclasses.replace(wanted, predicate=predicate)


@pytest.fixture(scope="module")
def sbom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the environment that runs the tests."""
    return real_sbom(tmp_path_factory.mktemp("sbom"))


@pytest.mark.parametrize(("name", "parameters"), [("gost256", "CryptoPro-A"), ("gost512", "TC26-512-C")])
def test_a_real_sbom_is_accepted_by_openssl_s_engine(
    tmp_path: Path, sbom: Path, name: str, parameters: str
) -> None:
    (tmp_path / "app").write_bytes(b"the artefact")
    bits = int(name[-3:])
    base = tmp_path / "daemon"
    base.mkdir()
    config = profiled(base, "gost", [name])
    settings = f'settings = {{ directory = "{base / "keys"}"'
    assert settings in config
    config = config.replace(settings, f'{settings}, parameters_{bits} = "{parameters}"')
    with running(base, config=config) as daemon:
        signerctl(daemon, tmp_path, "keys", "--public", "key.pub")
        signerctl(
            daemon, tmp_path, "sign", "sbom", str(sbom), "--subject", "app", "--release", RELEASE,
            "--profile", "dsse", "--envelope", "app.dsse.json",
        )  # fmt: skip
    envelope = parse_envelope((tmp_path / "app.dsse.json").read_bytes())
    (signature,) = envelope.signatures
    message = pae(envelope.payload_type, envelope.payload)
    assert len(message) > 20_000, "a real SBOM"
    gost, public = Gost(tmp_path), (tmp_path / "key.pub").read_text()
    assert gost.verifies(public, bits, signature.sig, message)
    assert not gost.verifies(public, bits, signature.sig, message + b"\0")
    # The same by the file that the daemon made: the engine has the very key.
    assert PublicKey.from_pem(gost.public(base / "keys" / f"{name}.pem")) == PublicKey.from_pem(public)
    assert signature.keyid == PublicKey.from_pem(public).keyid


def test_a_payload_above_the_limit_is_refused_on_the_record_and_one_below_is_signed(tmp_path: Path) -> None:
    with running(tmp_path, config=profiled(tmp_path, "gost", ["gost256"])) as daemon:
        with Signer.connect(daemon.socket) as signer:
            with pytest.raises(SignerdError) as caught:
                signer.sign_dsse(asked(large_sbom(2 * LARGEST_MESSAGE)), deadline_s=60)
            assert (caught.value.code, caught.value.reason) == ("request.too_large", "gost_payload_too_large")
            signed = signer.sign_dsse(asked(large_sbom(300_000)), deadline_s=60)
        last = daemon.leaves()[-1]
        assert last["kind"] in {"decided", "outcome"}
        assert [leaf["kind"] for leaf in daemon.leaves()].count("refused") == 1
        (public,) = [PublicKey.from_spki(cast("bytes", one.spki)) for one in signed.result.signing_identity]
    envelope = parse_envelope(cast("bytes", signed.envelope))
    message = pae(envelope.payload_type, envelope.payload)
    assert Gost(tmp_path).verifies(public.pem, 256, envelope.signatures[0].sig, message)


def test_without_the_engine_the_daemon_serves_and_the_key_is_unavailable(tmp_path: Path) -> None:
    """The other key of the tenant signs; the operator reads what to install."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(f'import os\nos.environ["OPENSSL_ENGINES"] = "{site}"\n')
    config = profiled(tmp_path, "fips+gost", ["es256", "gost256"])
    with running(tmp_path, config=config, environment={"PYTHONPATH": str(site)}) as daemon:
        with Signer.connect(daemon.socket) as signer:
            assert signer.sign_dsse(request()).bundles
            wanted = dataclasses.replace(
                request(1), options=Options(keys=(reference("gost256"),), profile="dsse")
            )
            with pytest.raises(SignerdError) as caught:
                signer.sign_dsse(wanted)
        assert (caught.value.code, caught.value.reason) == ("key.backend_unavailable", "engine_missing")
        assert "libengine" not in str(caught.value)
        assert "libengine-gost-openssl" in daemon.said
