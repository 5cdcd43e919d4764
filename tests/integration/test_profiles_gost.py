"""Keys of GOST R 34.10-2012 under each profile of a real daemon, alone and beside keys for cosign."""

import dataclasses
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import pytest

from outside.cosign import cosign
from outside.gost import Gost
from running.callers import request
from running.daemon import Running, running
from running.profiled import GOST_ALGORITHMS, profiled, reference
from signerd.attestation.dsse import pae, parse_envelope
from signerd.errors import SignerdError
from signerd.verification.bundle import verify_bundle, verify_envelope
from signerd.verification.keys import PublicKey
from signerd.wire.params import Options
from signerd_client import Signed, Signer, Subject

pytestmark = pytest.mark.needs("gost-engine")

ARTEFACT = b"the artefact"


def sign(daemon: Running, *names: str, **options: Any) -> Signed:
    named = {"keys": tuple(map(reference, names))} if names else {}
    subject = Subject("artefact", {"sha256": sha256(ARTEFACT).hexdigest()})
    with Signer.connect(daemon.socket) as signer:
        asked = dataclasses.replace(request(), subject=[subject], options=Options(**named, **options))
        return signer.sign_dsse(asked)


def refused(daemon: Running, *names: str, **options: Any) -> tuple[str, str]:
    with pytest.raises(SignerdError) as caught:
        sign(daemon, *names, **options)
    return caught.value.code, caught.value.reason


def publics(signed: Signed) -> list[PublicKey]:
    return [PublicKey.from_spki(cast("bytes", identity.spki)) for identity in signed.result.signing_identity]


@pytest.fixture(scope="module")
def dual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A tenant of ``fips+gost`` whose default key is of ES256."""
    base = tmp_path_factory.mktemp("dual")
    config = profiled(base, "fips+gost", ["es256", "gost256", "gost512", "ed25519"])
    with running(base, config=config) as started:
        yield started


@pytest.mark.needs("cosign")
def test_fips_and_gost_give_a_bundle_for_cosign_and_both_signatures_in_the_envelope(
    dual: Running, tmp_path: Path
) -> None:
    signed = sign(dual, profile="dsse")
    result = signed.result
    assert [key.key for key in result.receipt.decision.keys] == ["file:es256", "gost:gost256"]
    first, second = publics(signed)
    assert signed.envelope is not None
    assert verify_envelope(signed.envelope, [first, second], threshold=2).verified
    envelope = parse_envelope(signed.envelope)
    message = pae(envelope.payload_type, envelope.payload)
    assert Gost(tmp_path).verifies(second.pem, 256, envelope.signatures[1].sig, message)
    assert [one.keyid for one in envelope.signatures] == [first.openssh_fingerprint, second.keyid]
    (bundle,), (command,) = signed.bundles, result.verify_command
    assert verify_bundle(bundle, first).verified
    (tmp_path / "key.pub").write_text(first.pem)
    (tmp_path / "bundle.sigstore.json").write_bytes(bundle)
    (tmp_path / "artefact").write_bytes(ARTEFACT)
    places = {file: str(tmp_path / file) for file in ("key.pub", "bundle.sigstore.json", "artefact")}
    done = cosign([places.get(part, part) for part in command.argv[1:]], tmp_path)
    assert done.returncode == 0, done.stderr
    assert result.cosign_verifiable


def test_a_gost_key_brings_its_companion(dual: Running) -> None:
    signed = sign(dual, "gost512", "gost256", profile="dsse")
    keys = signed.result.receipt.decision.keys
    assert [(key.key, key.source) for key in keys] == [
        ("gost:gost512", "gost"),
        ("gost:gost256", "gost"),
        ("file:es256", "companion"),
    ]
    assert verify_envelope(cast("bytes", signed.envelope), publics(signed), threshold=3).verified
    assert len(signed.bundles) == 1


@pytest.mark.parametrize("names", [("gost256",), ("es256", "gost512")])
def test_no_bundle_carries_a_gost_signature(dual: Running, names: tuple[str, ...]) -> None:
    for include in ((), ("envelope",)):
        assert refused(dual, *names, include=include) == ("key.algorithm_refused", "not_for_cosign")
    last = json.loads(bytes(dual.leaves()[-1]["leaf"]))  # type: ignore[call-overload]  # a blob
    assert (last["kind"], last["outcome"], last["reason"]) == ("refused", "refused", "not_for_cosign")


def test_under_gost_alone_nothing_is_for_cosign_and_es256_is_refused(tmp_path: Path) -> None:
    config = profiled(tmp_path, "gost", ["gost256", "gost512", "es256"])
    with running(tmp_path, config=config) as daemon:
        for profile in ("cosign", "dsse"):
            assert refused(daemon, "es256", profile=profile) == ("key.algorithm_refused", "outside_profile")
        signed = sign(daemon, profile="dsse")
        assert [key.algorithm for key in publics(signed)] == [GOST_ALGORITHMS["gost256"]]
        assert (signed.bundles, signed.result.cosign_verifiable) == ((), False)
        assert verify_envelope(cast("bytes", signed.envelope), publics(signed)).verified
        with Signer.connect(daemon.socket) as signer:
            assert signer.describe("gost:gost256").verify_command == ()


@pytest.mark.parametrize("profile", ["world", "fips", "eidas", "kcmvp", "sm"])
def test_a_gost_key_is_outside_every_other_profile(tmp_path: Path, profile: str) -> None:
    config = profiled(tmp_path, profile, ["es256", "gost256", "gost512"])
    text = config.replace('generate = "GOST3410-2012-256"\n', "").replace('generate = "GOST3410-2012-512"\n', "")
    gost = Gost(tmp_path)
    for name, parameters in (("gost256", "TC26-256-A"), ("gost512", "TC26-512-A")):
        gost.new_key(parameters).rename(tmp_path / "keys" / f"{name}.pem")
    with running(tmp_path, config=text) as daemon:
        for name in GOST_ALGORITHMS:
            assert refused(daemon, name, profile="dsse") == ("key.algorithm_refused", "outside_profile")
