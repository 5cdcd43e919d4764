import msgspec

from signerd.verification import sshsig
from signerd.wire.ceremonies import LARGEST_PAYLOAD, LARGEST_SIGNATURE, NAMESPACE, Ceremony


def test_a_ceremony_crosses_a_process_as_it_is():
    ceremony = Ceremony(
        ceremony="0" * 32,
        operation="keys.revoke",
        payload=b"\xff" * LARGEST_PAYLOAD,
        payload_sha256="f" * 64,
        requester="alice",
        requester_uid=1001,
        requested_at=1,
        expires_at=2,
        state="approved",
        needed=2,
        approved_by=("bob", "carol"),
        message=b"{}",
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(ceremony), type=Ceremony) == ceremony


def test_the_namespace_is_a_name_that_ssh_keygen_takes():
    # PROTOCOL.sshsig asks for NAMESPACE@YOUR.DOMAIN outside the two that it defines itself.
    assert NAMESPACE.isascii()
    assert NAMESPACE.count("@") == 1
    assert NAMESPACE not in ("file", "git")


def test_a_message_takes_every_signature_that_the_verifier_reads():
    assert LARGEST_SIGNATURE == sshsig.LARGEST
