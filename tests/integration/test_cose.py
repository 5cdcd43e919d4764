"""The output profile ``cose`` through a real daemon, with keys of every algorithm that it carries; what comes back is
judged by pycose, an implementation of its own."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from outside.parts import the
from running.callers import request
from running.configured import records, until
from running.daemon import Running, running
from running.large import large_sbom
from running.profiled import profiled
from signerd.attestation.cose import parse_cose
from signerd.attestation.dsse import parse_envelope
from signerd.errors import SignerdError
from signerd.verification.cose import verify_cose
from signerd.verification.keys import PublicKey
from signerd.wire.params import Options
from signerd_client import Signed, Signer, SignRequest

NAMES = ("es256", "es384", "es512", "ed25519")
CURVES = {"secp256r1": ("P_256", 32), "secp384r1": ("P_384", 48), "secp521r1": ("P_521", 66)}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    base = tmp_path_factory.mktemp("cose")
    with running(base, config=profiled(base, "world", (*NAMES, "rsa2048"))) as started:
        yield started


def asked(*names: str, predicate: bytes | None = None, **options: Any) -> SignRequest:
    made = dataclasses.replace(
        request(), options=Options(**{"profile": "cose", "keys": tuple(f"file:{name}" for name in names), **options})
    )
    return made if predicate is None else dataclasses.replace(made, predicate=predicate)


def sign(daemon: Running, *names: str, **changes: Any) -> Signed:
    with Signer.connect(daemon.socket) as signer:
        return signer.sign_dsse(asked(*names, **changes))


def publics(signed: Signed) -> list[PublicKey]:
    return [PublicKey.from_spki(bytes(one.spki)) for one in signed.result.signing_identity]  # type: ignore[arg-type]


def judged(signed: Signed) -> list[str]:
    """What pycose says of each message by its key."""
    requests = []
    for message, public in zip(signed.cose, publics(signed), strict=True):
        loaded = load_der_public_key(public.spki)
        if isinstance(loaded, ed25519.Ed25519PublicKey):
            key = {"crv": "ED25519", "x": loaded.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()}
        else:
            assert isinstance(loaded, ec.EllipticCurvePublicKey)
            curve, size = CURVES[loaded.curve.name]
            point = loaded.public_numbers()
            key = {"crv": curve, "x": point.x.to_bytes(size, "big").hex(), "y": point.y.to_bytes(size, "big").hex()}
        payload = parse_cose(message).payload.hex()
        requests.append({"do": "verify", "key": key, "message": message.hex(), "payload": payload})
    program = Path(__file__).parents[1] / "outside" / "pycose.py"
    command = [sys.executable, "-I", program, the("pycose")]
    done = subprocess.run(command, input=json.dumps(requests).encode(), capture_output=True, check=True, timeout=120)
    answers: list[str] = json.loads(done.stdout)
    return answers


def refused(daemon: Running, *names: str, **options: Any) -> tuple[str, str, object]:
    with pytest.raises(SignerdError) as caught:
        sign(daemon, *names, **options)
    return caught.value.code, caught.value.reason, caught.value.details.get("name")


@pytest.mark.needs("pycose")
def test_pycose_verifies_a_message_of_each_key(daemon: Running) -> None:
    signed = sign(daemon, *NAMES)
    assert judged(signed) == ["yes"] * 4
    statements = {verify_cose(message, key) for message, key in zip(signed.cose, publics(signed), strict=True)}
    (statement,) = statements
    assert sha256(statement).hexdigest() == signed.result.statement_sha256
    assert [parse_cose(message).algorithm for message in signed.cose] == [-7, -35, -36, -8]
    assert (signed.bundles, signed.envelope, signed.result.cosign_verifiable) == ((), None, False)


@pytest.mark.needs("pycose")
def test_a_large_statement_is_framed_the_same(daemon: Running) -> None:
    signed = sign(daemon, "es256", "ed25519", predicate=large_sbom(1 << 20))
    assert judged(signed) == ["yes", "yes"]
    assert all(len(message) > 512 << 10 for message in signed.cose)


def test_the_profile_is_listed_and_its_record_is_whole(daemon: Running) -> None:
    with Signer.connect(daemon.socket) as signer:
        assert signer.hello.profiles == ("cosign", "dsse", "cose")
        assert signer.info().profiles == ("cosign", "dsse", "cose")
        signed = signer.sign_dsse(asked("es256"))
    audit_id = signed.result.receipt.audit_id
    until(lambda: records(daemon)[audit_id] == ["signed"])  # the outcome waits a moment for company
    leaves = [json.loads(bytes(row["leaf"])) for row in daemon.leaves() if row["audit_id"] == audit_id]  # type: ignore[call-overload]  # a blob
    assert leaves[0]["statement_sha256"] == signed.result.statement_sha256
    assert leaves[1]["bundle_sha256"] == [sha256(message).hexdigest() for message in signed.cose]


@pytest.mark.parametrize(
    ("names", "options", "expected"),
    [
        (("rsa2048",), {}, ("key.algorithm_refused", "not_for_cose", None)),
        (("es256", "rsa2048"), {}, ("key.algorithm_refused", "not_for_cose", None)),
        (("es256",), {"include": ("envelope",)}, ("request.unsupported", "not_served", "include=envelope")),
        (("es256",), {"include": ("rekor_request",)}, ("request.unsupported", "not_served", "include=rekor_request")),
        (("es256",), {"transparency": "async"}, ("request.unsupported", "not_served", "transparency=async")),
        (("es256",), {"transparency": "required"}, ("request.unsupported", "not_served", "transparency=required")),
        (("es256",), {"timestamp": True}, ("request.unsupported", "not_served", "timestamp")),
        (("es256",), {"mode": "keyless"}, ("key.forbidden", "not_keyless", None)),
        (("none",), {}, ("key.not_found", "no_such_key", None)),
    ],
)
def test_each_refusal_is_on_the_record(
    daemon: Running, names: tuple[str, ...], options: dict[str, Any], expected: tuple[str, str, object]
) -> None:
    assert refused(daemon, *names, **options) == expected
    last = json.loads(bytes(daemon.leaves()[-1]["leaf"]))  # type: ignore[call-overload]  # a blob
    assert (last["kind"], last["code"], last["reason"]) == ("refused", *expected[:2])


def test_a_batch_may_be_of_messages(daemon: Running) -> None:
    with Signer.connect(daemon.socket) as signer:
        first, second, third = signer.sign_batch(
            [asked("es256"), asked("rsa2048"), dataclasses.replace(request(), options=None)],
            options=Options(profile="cose"),
        )
    assert first.signed is not None
    assert len(first.signed.cose) == 1
    assert second.error is not None
    assert second.error.code == "key.algorithm_refused"
    assert third.signed is not None
    assert len(third.signed.cose) == 1


def signerctl(place: Path, daemon: Running, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [Path(sys.executable).parent / "signerctl", *arguments],
        cwd=place,
        env={**os.environ, "SIGNERD_SOCKET": str(daemon.socket)},
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_the_command_signs_and_verifies_and_refuses_what_was_altered(tmp_path: Path, daemon: Running) -> None:
    (tmp_path / "app").write_bytes(b"the artefact")
    (tmp_path / "sbom.json").write_bytes(b'{"bomFormat": "CycloneDX", "specVersion": "1.6"}')
    assert signerctl(tmp_path, daemon, "keys", "file:es384", "--public", "key.pub").returncode == 0
    arguments = ["sign", "sbom", "sbom.json", "--subject", "app", "--release", daemon.release, "--profile", "cose"]
    done = signerctl(tmp_path, daemon, *arguments, "--key", "file:es384", "--out", "app.cose")
    assert done.returncode == 0, done.stderr
    line = done.stderr.decode().partition("verify: ")[2].strip()
    assert line == "signerctl verify --key key.pub --type https://cyclonedx.org/bom --subject=app app.cose"
    verify = line.split(" ")[1:]
    good = signerctl(tmp_path, daemon, *verify)
    assert good.returncode == 0, good.stderr
    message = (tmp_path / "app.cose").read_bytes()
    (tmp_path / "app.cose").write_bytes(message.replace(b"CycloneDX", b"CycloneDY"))
    bad = signerctl(tmp_path, daemon, *verify)
    assert bad.returncode == 6
    assert b"signature_invalid" in bad.stderr
    (tmp_path / "out").mkdir()
    keys = ["--key", "file:es256", "--key", "file:ed25519"]
    assert signerctl(tmp_path, daemon, *arguments, *keys, "--out", "out").returncode == 0
    assert len(list((tmp_path / "out").glob("*.cose"))) == 2


def test_the_envelope_of_the_other_profiles_is_as_it_was(daemon: Running) -> None:
    envelope = sign(daemon, "es256", profile="dsse").envelope
    assert envelope is not None
    assert len(parse_envelope(envelope).signatures) == 1
