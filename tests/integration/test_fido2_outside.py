"""What the FIDO2 backend signs, before verifiers that are not ours: libfido2 and OpenSSH."""

import base64
import hashlib
import struct
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from outside.parts import the
from signerd.attestation.dsse import pae
from signerd.verification.fido2 import decode_assertion
from signerd.verification.keys import PublicKey
from signerd.verification.sshsig import SshSignature
from signerd_key_fido2.backend import Fido2Backend

PAE = pae("application/vnd.in-toto+json", b"{}")
ORIGIN = "https://signer.example"
SK = {"FIDO2-ES256": "sk-ecdsa-sha2-nistp256@openssh.com", "FIDO2-Ed25519": "sk-ssh-ed25519@openssh.com"}


@pytest.fixture
def backend(authenticator, tmp_path):
    def make(**settings):
        return Fido2Backend({"state": str(tmp_path / "state"), "device": authenticator.place, **settings})

    return make


@pytest.mark.needs("fido2-tools")
@pytest.mark.parametrize("origin", ["", ORIGIN])
@pytest.mark.parametrize(("algorithm", "kind"), [("FIDO2-ES256", "es256"), ("FIDO2-Ed25519", "eddsa")])
def test_libfido2_verifies_the_assertion(backend, tmp_path, algorithm, kind, origin):
    made = backend(rp_id="signer.example", **({"origin": origin} if origin else {}))
    described = made.enrol("fido2:alice", algorithm).description
    digest = hashlib.sha256(PAE).digest()
    assertion = decode_assertion(made.sign("fido2:alice", digest).signature)
    if origin:
        digest = hashlib.sha256(assertion.client_data_json).digest()
    (tmp_path / "key.pem").write_text(PublicKey.from_spki(described.spki).pem)

    def verified(hashed, rp_id="signer.example"):
        data = assertion.authenticator_data
        # fido2-assert(1): authenticator data is a CBOR byte string there; below 256 bytes its head has two.
        lines = [hashed, rp_id.encode(), bytes([0x58, len(data)]) + data, assertion.signature]
        text = [line.decode() if line == rp_id.encode() else base64.b64encode(line).decode() for line in lines]
        (tmp_path / "assertion").write_text("\n".join(text) + "\n")
        command = [the("fido2-tools"), "-V", "-p", "-i", tmp_path / "assertion", tmp_path / "key.pem", kind]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    assert verified(digest)
    assert not verified(hashlib.sha256(b"another").digest())
    assert not verified(digest, "another.example")


def string(data):
    return struct.pack(">I", len(data)) + data


def mpint(number):
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def sk_blob(algorithm, key):
    """Return the wire form of a security key's public half (OpenSSH, PROTOCOL.u2f)."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        fields = [key.public_bytes_raw()]
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        numbers = key.public_numbers()
        fields = [b"nistp256", b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")]
    return b"".join(map(string, [SK[algorithm].encode(), *fields, b"ssh:"]))


@pytest.mark.needs("ssh-keygen")
@pytest.mark.parametrize("algorithm", SK)
def test_openssh_verifies_what_a_credential_for_ssh_signs(backend, tmp_path, algorithm):
    made = backend(rp_id="ssh:")
    described = made.enrol("fido2:alice", algorithm).description
    fields = [b"signerd", b"", b"sha256", hashlib.sha256(PAE).digest()]
    digest = hashlib.sha256(b"SSHSIG" + b"".join(map(string, fields))).digest()
    assertion = decode_assertion(made.sign("fido2:alice", digest).signature)
    raw = assertion.signature
    if algorithm == "FIDO2-ES256":
        raw = b"".join(map(mpint, decode_dss_signature(raw)))
    signature = string(SK[algorithm].encode()) + string(raw) + assertion.authenticator_data[32:]
    blob = sk_blob(algorithm, load_der_public_key(described.spki))
    whole = b"SSHSIG" + struct.pack(">I", 1) + b"".join(map(string, [blob, *fields[:3], signature]))
    encoded = base64.encodebytes(whole).decode()
    armoured = f"-----BEGIN SSH SIGNATURE-----\n{encoded}-----END SSH SIGNATURE-----\n"
    (tmp_path / "sig").write_text(armoured)
    line = f"alice {SK[algorithm]} {base64.b64encode(blob).decode()}\n"
    (tmp_path / "allowed").write_text(line)

    def verified(message):
        command = [the("ssh-keygen"), "-Y", "verify", "-f", tmp_path / "allowed", "-I", "alice", "-n", "signerd"]
        done = subprocess.run([*command, "-s", tmp_path / "sig"], input=message, capture_output=True, check=False)
        return done.returncode == 0

    assert verified(PAE)
    assert not verified(PAE + b" ")
    SshSignature.parse(armoured).verify(PAE, "signerd")
