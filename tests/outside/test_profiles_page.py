"""docs/profiles.md says what the code allows, and what cosign, signerd and securesystemslib say."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from outside.cosign import cosign
from outside.gost import Gost
from outside.parts import ROOT
from outside.signed import TYPE, Key, statement, write
from signerd.attestation.algorithms import ALGORITHMS, COMPLIANCE_PROFILES, COSIGN_ALGORITHMS, SIGNATURE_DIGEST
from signerd.attestation.dsse import Signature, encode_base64, encode_envelope, pae
from signerd.attestation.hashing import HASHES, PURPOSES, hash_for
from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.verification.bundle import verify_bundle, verify_envelope
from signerd.verification.keys import PublicKey

PAGE = (ROOT / "docs" / "profiles.md").read_text()
FAMILY = {"GOST3410-2012-256": "TC26-256-A", "GOST3410-2012-512": "TC26-512-A"}


def table(first: str) -> list[list[str]]:
    """The rows of the table whose first column has this title, each a list of cells."""
    found = re.search(rf"^\| {first} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert found, first
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()]


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_table_of_profiles_is_the_codes() -> None:
    rows = {named(row[0])[0]: row for row in table("profile")}
    assert list(rows) == list(COMPLIANCE_PROFILES)
    for profile, row in rows.items():
        allowed = COMPLIANCE_PROFILES[profile]
        assert set(named(row[1])) == allowed.algorithms
        has_rsa = any(name.startswith("RSA-") for name in allowed.algorithms)
        assert row[2] == (str(allowed.rsa_bits) if has_rsa else "none")
        assert tuple(named(row[3])) == HASHES[profile]


def test_the_table_of_hashes_is_the_codes() -> None:
    rows = table("purpose")
    assert [named(row[0])[0] for row in rows] == list(PURPOSES)
    for row in rows:
        assert row[1:] == [hash_for(profile, named(row[0])[0]) for profile in COMPLIANCE_PROFILES]


def test_every_algorithm_is_in_the_table_of_verifiers_or_said_not_to_be() -> None:
    rows = table("what leaves")
    bundles = {row[1] for row in rows if row[0] == "bundle"}
    envelopes = {row[1] for row in rows if row[0] == "envelope"}
    assert bundles == COSIGN_ALGORITHMS
    left = PAGE.rsplit("`signerd.verification`.", 1)[1]
    absent = {name for name in ALGORITHMS - envelopes if not name.startswith("FIDO2-")}
    assert absent == {name for name in ALGORITHMS if name in left}


class GostSigner:
    """A GOST key of OpenSSL's engine, with what :class:`outside.signed.Key` has of it."""

    def __init__(self, algorithm: str, folder: Path) -> None:
        self._gost, self._bits = Gost(folder), int(algorithm[-3:])
        self._private = self._gost.new_key(FAMILY[algorithm])
        self.pem = self._gost.public(self._private)

    def sign(self, message: bytes) -> bytes:
        return self._gost.sign(self._private, self._bits, message)


def made(algorithm: str, folder: Path) -> Key | GostSigner:
    return GostSigner(algorithm, folder) if algorithm in FAMILY else Key(algorithm)


def written(leaving: str, algorithm: str, folder: Path) -> tuple[bytes, PublicKey]:
    """What leaves, beside ``artifact`` and ``key.pub`` in ``folder``; and the key that signed."""
    if leaving == "bundle":
        signed = write(folder, Key(algorithm))
        return signed.bundle.read_bytes(), PublicKey.from_pem(signed.key.read_bytes())
    write(folder, Key())  # the artefact
    key, payload = made(algorithm, folder), statement()
    public = PublicKey.from_pem(key.pem)
    (folder / "key.pub").write_bytes(key.pem)
    signature = Signature(key.sign(pae(PAYLOAD_TYPE, payload)), public.envelope_keyid)
    envelope = encode_envelope(encode_base64(payload), PAYLOAD_TYPE, [signature])
    (folder / "bundle.sigstore.json").write_bytes(envelope)
    return envelope, public


def altered(text: bytes) -> bytes:
    """The same with a byte of its payload changed."""
    document = json.loads(text)
    envelope = document.get("dsseEnvelope", document)
    payload = base64.b64decode(envelope["payload"]).replace(b"library", b"librarx")
    envelope["payload"] = base64.b64encode(payload).decode()
    changed = json.dumps(document).encode()
    assert changed != text
    return changed


def by_cosign(text: bytes, public: PublicKey, folder: Path) -> bool:
    (folder / "bundle.sigstore.json").write_bytes(text)
    digest = SIGNATURE_DIGEST.get(public.algorithm)
    command: list[str | Path] = ["verify-blob-attestation", "--key", folder / "key.pub", "--type", TYPE]
    command += ["--bundle", folder / "bundle.sigstore.json", "--insecure-ignore-tlog"]
    command += ["--signature-digest-algorithm", digest] if digest else []
    return cosign([*command, folder / "artifact"], folder).returncode == 0


def by_signerd(text: bytes, public: PublicKey, folder: Path) -> bool:
    del folder
    if b'"dsseEnvelope"' in text:
        return verify_bundle(text, public).verified
    return verify_envelope(text, [public]).verified


def by_securesystemslib(text: bytes, public: PublicKey, folder: Path) -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import Key as Trusted  # type: ignore[attr-defined]  # it re-exports silently
    from securesystemslib.signer import SSlibKey

    del folder
    scheme = "rsa-pkcs1v15-sha256" if public.algorithm == "RSA-PKCS1-SHA256" else None
    try:
        loaded: Any = load_der_public_key(public.spki)
        trusted: Trusted = SSlibKey.from_crypto(loaded, keyid=public.envelope_keyid, scheme=scheme)
        return len(Envelope.from_dict(json.loads(text)).verify([trusted], threshold=1)) == 1
    except (VerificationError, UnsupportedAlgorithm, KeyError):
        return False


VERIFIERS: list[Callable[[bytes, PublicKey, Path], bool]] = [by_cosign, by_signerd, by_securesystemslib]
ROWS = [
    pytest.param(*row, marks=[pytest.mark.needs("gost-engine")] if row[1] in FAMILY else [], id=f"{row[0]}-{row[1]}")
    for row in table("what leaves")
]


@pytest.mark.needs("cosign", "securesystemslib")
@pytest.mark.parametrize(("leaving", "algorithm", "cosign_", "signerd_", "sslib_"), ROWS)
def test_each_cell_is_what_its_verifier_says(
    leaving: str, algorithm: str, cosign_: str, signerd_: str, sslib_: str, tmp_path: Path
) -> None:
    text, public = written(leaving, algorithm, tmp_path)
    assert public.algorithm == algorithm
    for verifier, cell in zip(VERIFIERS, (cosign_, signerd_, sslib_), strict=True):
        assert verifier(text, public, tmp_path) is {"yes": True, "no": False}[cell], verifier.__name__
        assert not verifier(altered(text), public, tmp_path), verifier.__name__
