import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from fakes.ssh import SshSigner, mpint, string
from signerd.errors import Refusal
from signerd.verification.keys import PublicKey
from signerd.verification.ssh_keys import LARGEST_LINE, SshPublicKey, SshReader

KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
SIGNERS = {kind: SshSigner.make(kind) for kind in KINDS}
ED = SIGNERS["ssh-ed25519"]
POINT = SIGNERS["ecdsa-sha2-nistp256"].private.public_key()


def line_of(kind: str, fields: bytes) -> str:
    return f"{kind} {base64.b64encode(string(kind.encode()) + fields).decode()}"


def reason_of(call) -> str:
    with pytest.raises(Refusal) as caught:
        call()
    assert caught.value.code == "verification.failed"
    return caught.value.reason


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_is_read_and_the_key_verifies_what_it_signed_and_nothing_else(kind):
    signer = SIGNERS[kind]
    key = SshPublicKey.from_line(f" {signer.line} alice@example.com, on her laptop\n")
    assert (key.type, key.blob) == (kind, signer.blob)
    assert key.application == ("ssh:" if kind.startswith("sk-") else "")
    assert key == SshPublicKey.from_blob(signer.blob)
    key.verify(signer.raw(b"message"), b"message")
    assert reason_of(lambda: key.verify(signer.raw(b"message"), b"massage")) == "signature_invalid"
    other = SshSigner.make(kind)
    assert key != SshPublicKey.from_line(other.line)
    assert reason_of(lambda: key.verify(other.raw(b"message"), b"message")) == "signature_invalid"


def test_the_fingerprint_is_that_of_the_other_key_class():
    for kind in ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"):
        signer = SIGNERS[kind]
        spki = signer.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        expected = PublicKey.from_spki(spki).openssh_fingerprint
        assert SshPublicKey.from_line(signer.line).fingerprint == expected


ED_BYTES = ED.blob[-32:]
P384 = ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
COMPRESSED = POINT.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
UNCOMPRESSED = POINT.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
N = 1 << 2047 | 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "key_line"),
        ("ssh-ed25519", "key_line"),
        ("no-touch-required " + ED.line, "key_line"),
        ('from="10.0.0.1" ' + ED.line, "key_line"),
        ("alice@example.com " + ED.line, "key_line"),
        (ED.line + "\n" + ED.line, "key_line"),
        (ED.line + " " + "x" * LARGEST_LINE, "key_line"),
        (ED.line.replace(" ", "  "), "key_line"),
        (ED.line + "\ud800", "key_line"),
        (ED.line + "=", "key_base64"),
        (ED.line[:-1], "key_base64"),
        ("ssh-ed25519 AAAÄ", "key_base64"),
        (ED.line.replace("ssh-ed25519 ", "ssh-rsa ", 1), "key_malformed"),
        (line_of("ssh-ed25519-cert-v01@openssh.com", string(b"")), "key_type"),
        (line_of("ssh-dss", mpint(7)), "key_type"),
        (line_of("ecdsa-sha2-nistp384", string(b"nistp384") + string(P384)), "key_type"),
        (line_of("ssh-ed25519", string(ED_BYTES[1:])), "key_malformed"),
        (line_of("ssh-ed25519", string(ED_BYTES) + b"\0"), "trailing_bytes"),
        (line_of("ssh-ed25519", string(ED_BYTES)[:-1]), "truncated"),
        (line_of("ssh-ed25519", b"\xff\xff\xff\xff"), "truncated"),
        (line_of("ecdsa-sha2-nistp256", string(b"nistp384") + string(UNCOMPRESSED)), "key_malformed"),
        (line_of("ecdsa-sha2-nistp256", string(b"nistp256") + string(COMPRESSED)), "key_malformed"),
        (line_of("ecdsa-sha2-nistp256", string(b"nistp256") + string(UNCOMPRESSED[:-1] + b"\0")), "key_malformed"),
        (line_of("ssh-rsa", mpint(65537) + mpint(1 << 2046 | 1)), "rsa_size"),
        (line_of("ssh-rsa", mpint(65537) + mpint(1 << 8192 | 1)), "rsa_size"),
        (line_of("ssh-rsa", mpint(65536) + mpint(N)), "rsa_exponent"),
        (line_of("ssh-rsa", mpint(1) + mpint(N)), "rsa_exponent"),
        (line_of("ssh-rsa", mpint((1 << 32) + 1) + mpint(N)), "rsa_exponent"),
        (line_of("ssh-rsa", mpint(65537) + mpint(N + 1)), "key_malformed"),
        (line_of("ssh-rsa", string(b"\0\x01\0\x01") + mpint(N)), "integer_not_canonical"),
        (line_of("ssh-rsa", string(b"\xff") + mpint(N)), "integer_not_canonical"),
        (line_of("ssh-rsa", string(b"") + mpint(N)), "integer_not_canonical"),
        (line_of("sk-ssh-ed25519@openssh.com", string(ED_BYTES)), "truncated"),
        (line_of("sk-ssh-ed25519@openssh.com", string(ED_BYTES) + string(b"")), "name_malformed"),
        (line_of("sk-ssh-ed25519@openssh.com", string(ED_BYTES) + string(b"example.com")), "application"),
        (line_of("sk-ssh-ed25519@openssh.com", string(ED_BYTES) + string(b"ssh:\n")), "name_malformed"),
    ],
)
def test_a_line_that_is_not_one_plain_key_is_refused(line, reason):
    assert reason_of(lambda: SshPublicKey.from_line(line)) == reason


def test_sha1_and_an_algorithm_of_another_key_are_refused():
    key, signer = SshPublicKey.from_line(SIGNERS["ssh-rsa"].line), SIGNERS["ssh-rsa"]
    key.verify(signer.raw(b"m", "rsa-sha2-256"), b"m")
    assert reason_of(lambda: key.verify(signer.raw(b"m", "ssh-rsa"), b"m")) == "signature_type"
    assert reason_of(lambda: key.verify(ED.raw(b"m"), b"m")) == "signature_type"
    plain = SshPublicKey.from_line(ED.line)
    assert reason_of(lambda: plain.verify(SIGNERS[KINDS[3]].raw(b"m"), b"m")) == "signature_type"


def test_an_rsa_signature_is_as_long_as_the_modulus():
    signer = SIGNERS["ssh-rsa"]
    key = SshPublicKey.from_line(signer.line)
    raw = signer.raw(b"m")[-256:]
    for other in (b"\0" + raw, raw[:-1], b""):
        signature = string(b"rsa-sha2-512") + string(other)
        assert reason_of(lambda signature=signature: key.verify(signature, b"m")) == "signature_malformed"


@pytest.mark.parametrize("kind", KINDS[3:])
def test_a_security_key_must_have_asked_for_a_touch(kind):
    signer = SIGNERS[kind]
    key = SshPublicKey.from_line(signer.line)
    key.verify(signer.raw(b"m", flags=0x05, counter=2**32 - 1), b"m")
    assert reason_of(lambda: key.verify(signer.raw(b"m", flags=0x04), b"m")) == "user_not_present"
    untouched = signer.raw(b"m", flags=0x00)
    lying = untouched[:-5] + b"\x01" + untouched[-4:]
    assert reason_of(lambda: key.verify(lying, b"m")) == "signature_invalid"
    elsewhere = SshSigner(kind, signer.private, b"ssh:other")
    assert reason_of(lambda: key.verify(elsewhere.raw(b"m"), b"m")) == "signature_invalid"
    assert reason_of(lambda: key.verify(untouched[:-1], b"m")) == "truncated"


@pytest.mark.parametrize("numbers", [mpint(1 << 256) + mpint(1), mpint(1) + mpint(1 << 300)])
def test_numbers_of_ecdsa_beyond_the_curve_are_refused(numbers):
    key = SshPublicKey.from_line(SIGNERS["ecdsa-sha2-nistp256"].line)
    signature = string(b"ecdsa-sha2-nistp256") + string(numbers)
    assert reason_of(lambda: key.verify(signature, b"m")) == "signature_malformed"


def test_ed25519_of_another_length_is_refused():
    key = SshPublicKey.from_line(ED.line)
    assert reason_of(lambda: key.verify(string(b"ssh-ed25519") + string(b"x" * 63), b"m")) == "signature_malformed"


def test_the_largest_key_is_read():
    numbers = rsa.RSAPublicNumbers(65537, 1 << 8191 | 1)
    line = line_of("ssh-rsa", mpint(numbers.e) + mpint(numbers.n))
    assert len(line) < LARGEST_LINE
    assert SshPublicKey.from_line(line).type == "ssh-rsa"


@given(st.text())
def test_no_text_is_a_key_by_chance_and_none_fails_otherwise(text):
    reason_of(lambda: SshPublicKey.from_line(text))


@given(st.sampled_from(KINDS), st.data())
def test_a_changed_byte_of_a_key_never_reads_as_that_key(kind, data):
    blob = bytearray(SIGNERS[kind].blob)
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    keys = []

    def use():
        keys.append(SshPublicKey.from_blob(bytes(blob)))
        keys[0].verify(SIGNERS[kind].raw(b"m"), b"m")

    assert reason_of(use)
    assert SshPublicKey.from_blob(SIGNERS[kind].blob) not in keys


def test_the_reader_reads_what_rfc_4251_shows():
    reader = SshReader(bytes.fromhex("0000000809a378f9b2e332a7" "00000002" "0080" "29b7f4aa"))
    assert reader.mpint() == 0x9A378F9B2E332A7
    assert reader.mpint() == 0x80
    assert reader.uint32() == 699921578
    reader.end()
