from fakes.credential import ORIGIN, RP_ID, SoftCredential
from fakes.sealing import NOW
from signerd.sealer.key_spec import KeySpec
from signerd.verification.fido2 import Credential
from signerd.verification.keys import PublicKey
from signerd.wire.ring import RingEntry

KEY = SoftCredential()
ENTRY = RingEntry("fido2:alice", "acme", 1, KEY.keyid, "FIDO2-ES256", KEY.spki, "fido2", "active", NOW)
PUBLIC = PublicKey.from_spki(KEY.spki)


def test_a_version_is_pinned_with_what_is_configured_for_its_key():
    spec = KeySpec("file:a", "acme", "soft", "file", plans=frozenset({"gold"}), presence="fido2:alice", presence_s=9.0)
    pinned = spec.pinned(ENTRY, PUBLIC, True, None)
    assert (pinned.entry, pinned.public, pinned.backend, pinned.prehash) == (ENTRY, PUBLIC, "soft", True)
    assert (pinned.plans, pinned.presence, pinned.presence_s) == (frozenset({"gold"}), "fido2:alice", 9.0)
    assert pinned.credential is None


def test_a_credential_is_pinned_with_the_public_key_of_its_version():
    spec = KeySpec("fido2:alice", "acme", "touch", "fido2", enrolled=Credential(b"", RP_ID, ORIGIN, True))
    assert spec.pinned(ENTRY, PUBLIC, False, None).credential == Credential(KEY.spki, RP_ID, ORIGIN, True)
