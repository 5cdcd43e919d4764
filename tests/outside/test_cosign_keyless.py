"""Stock cosign over the tests' own Sigstore: what we verify it verifies, what we refuse it refuses.

So the stack whose lies the tests of T24 tell is one that somebody else takes for genuine.
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate
from cryptography.x509.oid import ExtendedKeyUsageOID

from fakes.sigstore import ISSUER, NOW, SAN, CtLog, Issued, Sigstore, Witnessing, b64, new_key
from outside.parts import the
from signerd.attestation.statement import Subject, build_statement
from signerd.verification.bundle import verify_bundle
from signerd.verification.certificates import Identity
from signerd.verification.trusted_root import parse_trusted_root

pytestmark = pytest.mark.needs("cosign")

STACK = Sigstore()
TYPE = "https://example.com/attestation/v1"
ARTIFACT = b"artefact"
DIGEST = hashlib.sha256(ARTIFACT).hexdigest()
PAYLOAD = build_statement([Subject("artefact", {"sha256": DIGEST})], TYPE, b"{}")
KEY = new_key()
HOUR = timedelta(hours=1)


def both(folder: Path, bundle: dict[str, Any], root: bytes | None = None) -> tuple[bool, bool, str]:
    """Whether cosign accepts it, whether we do, and what cosign says."""
    trusted = root or STACK.trusted_root()
    text = json.dumps(bundle).encode()
    (folder / "artefact").write_bytes(ARTIFACT)
    (folder / "bundle.json").write_bytes(text)
    (folder / "root.json").write_bytes(trusted)
    command = [
        the("cosign"), "verify-blob-attestation", "--bundle", "bundle.json", "--trusted-root", "root.json",
        "--certificate-identity", SAN, "--certificate-oidc-issuer", ISSUER, "--type", TYPE, "artefact",
    ]  # fmt: skip
    nowhere = {"HOME": str(folder / "home"), "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run(
        command, cwd=folder, env=os.environ | nowhere, capture_output=True, text=True, check=False, timeout=120
    )
    ours = verify_bundle(
        text,
        Identity(SAN, ISSUER),
        artifact_sha256=DIGEST,
        predicate_type=TYPE,
        trusted_root=parse_trusted_root(trusted),
    )
    return done.returncode == 0, ours.verified, done.stderr


def in_older_log(**lie: Any) -> dict[str, Any]:
    """A Rekor v1 entry of kind ``dsse`` with the log's promise, and no stamp."""
    leaf = STACK.leaf(KEY)
    pem = load_der_x509_certificate(leaf).public_bytes(Encoding.PEM)

    def entries(_digest: bytes, signature: bytes) -> list[dict[str, Any]]:
        body = {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": "0" * 64},
                "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(PAYLOAD).hexdigest()},
                "signatures": [{"signature": b64(signature), "verifier": b64(pem)}],
            },
        }
        return [STACK.entry1(body, **lie)]

    return STACK.keyless(PAYLOAD, key=KEY, leaf=leaf, entries=entries, stamps=lambda _: [])


GOOD: dict[str, Callable[[], dict[str, Any]]] = {
    "all of it": lambda: STACK.keyless(PAYLOAD),
    "an entry of the older log": in_older_log,
    "a witness that nobody knows": lambda: STACK.keyless(PAYLOAD, witnesses=[Witnessing()]),
    "an SCT of another log beside the right one": lambda: STACK.keyless(
        PAYLOAD, key=KEY, leaf=STACK.leaf(KEY, scts=[STACK.ct, CtLog()])
    ),
}


@pytest.mark.parametrize("made", GOOD.values(), ids=GOOD)
def test_what_is_good_passes_both(made: Callable[[], dict[str, Any]], tmp_path: Path) -> None:
    theirs, ours, said = both(tmp_path, made())
    assert (theirs, ours) == (True, True), said


def with_leaf(**lie: Any) -> dict[str, Any]:
    return STACK.keyless(PAYLOAD, key=KEY, leaf=STACK.leaf(KEY, **lie))


def with_stamp(made: Callable[[bytes], bytes]) -> dict[str, Any]:
    return STACK.keyless(PAYLOAD, stamps=lambda signature: [made(signature)])


BAD: dict[str, Callable[[], dict[str, Any]]] = {
    "expired": lambda: with_leaf(start=NOW - 2 * HOUR, end=NOW - HOUR),
    "for something else": lambda: with_leaf(usage=ExtendedKeyUsageOID.SERVER_AUTH),
    "of another authority": lambda: with_leaf(ca=Issued.root("ca root").intermediate("ca")),
    "without an SCT": lambda: with_leaf(scts=[]),
    "stamp over other bytes": lambda: with_stamp(lambda _: STACK.stamp(b"other")),
    "stamp by another key": lambda: with_stamp(lambda signature: STACK.stamp(signature, key=new_key())),
    "no stamp": lambda: STACK.keyless(PAYLOAD, stamps=lambda _: []),
    "checkpoint of another log": lambda: STACK.keyless(PAYLOAD, origin="other.example"),
    "promise by another key": lambda: in_older_log(key=new_key()),
    "promise after the certificate": lambda: in_older_log(at=NOW + HOUR),
    "no entry": lambda: STACK.keyless(PAYLOAD, entries=lambda _digest, _signature: []),
}


@pytest.mark.parametrize("made", BAD.values(), ids=BAD)
def test_what_is_bad_fails_both(made: Callable[[], dict[str, Any]], tmp_path: Path) -> None:
    theirs, ours, said = both(tmp_path, made())
    assert (theirs, ours) == (False, False), said
