import base64
import hashlib
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.ssh import FOOT, HEAD, SshSigner, armour, string
from outside.parts import the
from signerd.errors import Refusal
from signerd.verification.ssh_keys import SshPublicKey
from signerd.verification.sshsig import LARGEST, SshSignature

KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
SIGNERS = {kind: SshSigner.make(kind) for kind in KINDS}
NAMESPACE = "approval@signerd"
MESSAGE = b'{"ceremony":"00"}'
MADE = {kind: SIGNERS[kind].sign(MESSAGE, NAMESPACE) for kind in KINDS}


def verified(armoured: str, message: bytes = MESSAGE, namespace: str = NAMESPACE) -> SshPublicKey:
    signature = SshSignature.parse(armoured)
    signature.verify(message, namespace)
    return signature.key


def reason_of(armoured: str, message: bytes = MESSAGE, namespace: str = NAMESPACE) -> str:
    with pytest.raises(Refusal) as caught:
        verified(armoured, message, namespace)
    assert caught.value.code == "verification.failed"
    return caught.value.reason


@pytest.mark.parametrize("hashed", ["sha256", "sha512"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_signature_verifies_in_its_namespace_over_its_message(kind, hashed):
    signer = SIGNERS[kind]
    made = signer.sign(MESSAGE, NAMESPACE, hashed)
    assert verified(made) == SshPublicKey.from_line(signer.line)
    assert verified(made.rstrip("\n")) == SshPublicKey.from_line(signer.line)
    assert reason_of(made, b"other") == "signature_invalid"
    assert reason_of(made, MESSAGE, "file") == "namespace"
    assert reason_of(signer.sign(MESSAGE, "file", hashed)) == "namespace"


def rebuilt(**changed: bytes) -> str:
    """The signature of the Ed25519 key with some of its fields otherwise; what it signs changes with them."""
    signer = SIGNERS["ssh-ed25519"]
    fields = {
        "magic": b"SSHSIG",
        "version": b"\0\0\0\1",
        "key": signer.blob,
        "namespace": NAMESPACE.encode(),
        "reserved": b"",
        "hashed": b"sha512",
        "tail": b"",
        **changed,
    }
    middle = string(fields["namespace"]) + string(fields["reserved"]) + string(fields["hashed"])
    signature = signer.raw(b"SSHSIG" + middle + string(hashlib.sha512(MESSAGE).digest()))
    return armour(
        fields["magic"] + fields["version"] + string(fields["key"]) + middle + string(signature) + fields["tail"]
    )


def test_the_signature_that_the_next_test_changes_is_good():
    assert verified(rebuilt()) == SshPublicKey.from_line(SIGNERS["ssh-ed25519"].line)


ED = MADE["ssh-ed25519"]


@pytest.mark.parametrize(
    ("armoured", "reason"),
    [
        (rebuilt(magic=b"SSHSIh"), "magic"),
        (rebuilt(version=b"\0\0\0\2"), "version"),
        (rebuilt(version=b"\0\0\0\0"), "version"),
        (rebuilt(key=b"\0\0\0\7ssh-foo"), "key_type"),
        (rebuilt(key=SIGNERS["ssh-ed25519"].blob + b"\0"), "trailing_bytes"),
        (rebuilt(key=SshSigner.make("ssh-ed25519").blob), "signature_invalid"),
        (rebuilt(key=SIGNERS["ssh-rsa"].blob), "signature_type"),
        (rebuilt(namespace=b"approval@signerd\0"), "name_malformed"),
        (rebuilt(namespace=b""), "name_malformed"),
        (rebuilt(reserved=b"x"), "reserved"),
        (rebuilt(hashed=b"sha1"), "hash_algorithm"),
        (rebuilt(hashed=b"sha256"), "signature_invalid"),
        (rebuilt(tail=b"\0"), "trailing_bytes"),
        (armour(b"SSHSI"), "truncated"),
        ("", "not_armoured"),
        (" " + ED, "not_armoured"),
        (ED + "\n", "not_armoured"),
        (ED + ED, "not_armoured"),
        (ED.replace("\n", "\r\n"), "not_armoured"),
        (ED.replace(HEAD, HEAD + "\n"), "not_armoured"),
        (f"{HEAD}\n{FOOT}\n", "not_armoured"),
        (ED.replace("A", "Á", 1), "not_armoured"),
        (ED.replace("A", "\ud800", 1), "not_armoured"),
        (f"{HEAD}\nAAA\n{FOOT}\n", "base64"),
        (f"{HEAD}\nAAB=\n{FOOT}\n", "base64"),
        (f"{HEAD}\nAA==AA==\n{FOOT}\n", "base64"),
        (f"{HEAD}\n{'A' * LARGEST}\n{FOOT}\n", "too_large"),
    ],
)
def test_what_is_not_exactly_a_signature_is_refused(armoured, reason):
    assert reason_of(armoured) == reason


def test_sha1_is_refused():
    assert reason_of(SIGNERS["ssh-rsa"].sign(MESSAGE, NAMESPACE, algorithm="ssh-rsa")) == "signature_type"


@given(st.sampled_from(KINDS), st.data())
def test_a_changed_byte_never_verifies(kind, data):
    blob = bytearray(base64.b64decode("".join(MADE[kind].splitlines()[1:-1])))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    reason_of(armour(bytes(blob)))


@given(st.sampled_from(KINDS), st.data())
def test_a_changed_character_of_the_armour_never_verifies(kind, data):
    made = MADE[kind]
    at = data.draw(st.integers(0, len(made) - 1))
    other = data.draw(st.characters().filter(lambda letter: letter != made[at]))
    reason_of(made[:at] + other + made[at + 1 :])


@given(st.sampled_from(KINDS), st.data())
def test_what_is_cut_short_or_longer_never_verifies(kind, data):
    blob = base64.b64decode("".join(MADE[kind].splitlines()[1:-1]))
    at = data.draw(st.integers(0, len(blob) - 1))
    piece = data.draw(st.binary(min_size=1, max_size=8))
    reason_of(armour(blob[:at]))
    reason_of(armour(blob[:at] + piece + blob[at:]))


@given(st.binary(max_size=200))
def test_no_bytes_fail_otherwise(blob):
    reason_of(armour(b"SSHSIG\0\0\0\1" + blob))


def ssh_keygen(*arguments: object, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [the("ssh-keygen"), *map(str, arguments)], input=given, capture_output=True, check=False, timeout=60
    )


@pytest.mark.needs("ssh-keygen")
@pytest.mark.parametrize("options", [("ed25519",), ("ecdsa", "-b", 256), ("rsa", "-b", 2048)])
def test_what_ssh_keygen_signs_verifies(tmp_path, options):
    key = tmp_path / "key"
    assert ssh_keygen("-q", "-t", *options, "-N", "", "-C", "an approver", "-f", key).returncode == 0
    line = (tmp_path / "key.pub").read_text()
    for hashed in ("sha256", "sha512"):
        made = ssh_keygen("-Y", "sign", "-O", f"hashalg={hashed}", "-n", NAMESPACE, "-f", key, given=MESSAGE)
        assert made.returncode == 0, made.stderr
        found = verified(made.stdout.decode())
        assert found == SshPublicKey.from_line(line)
        assert found.fingerprint in ssh_keygen("-l", "-f", key).stdout.decode()
        assert reason_of(made.stdout.decode(), MESSAGE + b"\n") == "signature_invalid"


@pytest.mark.needs("ssh-keygen")
@pytest.mark.parametrize("kind", KINDS)
def test_ssh_keygen_agrees_about_what_the_tests_sign(tmp_path, kind):
    (tmp_path / "allowed").write_text(f"approver {SIGNERS[kind].line}\n")
    (tmp_path / "made.sig").write_text(MADE[kind])
    arguments = ("-Y", "verify", "-f", tmp_path / "allowed", "-I", "approver", "-s", tmp_path / "made.sig", "-n")
    good = ssh_keygen(*arguments, NAMESPACE, given=MESSAGE)
    assert good.returncode == 0, good.stderr
    assert ssh_keygen(*arguments, NAMESPACE, given=MESSAGE + b" ").returncode != 0
    assert ssh_keygen(*arguments, "file", given=MESSAGE).returncode != 0
    assert verified(MADE[kind]).fingerprint in good.stdout.decode()
