"""Contract of key backends, inside one process; ``signerd-conformance backend`` judges the worker around them."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from signerd.contracts.providers import Enroller, Generator, KeyBackend, Keyless, Macs, Rotator
from signerd.contracts.values import KeyDescription, SignatureResult
from signerd.verification.certificates import SigningCertificate
from signerd.verification.fido2 import ALGORITHMS, Credential, verify_assertion
from signerd.verification.keys import PublicKey
from signerd_conformance.contracts.plugin import PluginContract, refused

__all__ = ["KeyBackendContract"]

LARGE = 1024 * 1024
_CAPABILITIES = {"attest", "enrol", "generate", "hmac", "keyless", "presence", "rotate"}


class KeyBackendContract(PluginContract):
    """A subclass gives ``scheme`` and :meth:`keys`, and :meth:`free` where the backend generates."""

    hook = "signerd_key_backends"
    scheme: ClassVar[str]
    """The name of the entry point, without the colon."""

    def keys(self) -> Sequence[str]:
        """Return references to keys that are there."""
        raise NotImplementedError

    def free(self) -> tuple[str, str] | None:
        """Return a reference that no key has yet and an algorithm to make one with; None: nothing is generated."""
        return None

    def absent(self) -> str:
        """Return a reference of the scheme that no key has."""
        return f"{self.scheme}:absent-{secrets.token_hex(8)}"

    def credential(self, reference: str) -> Credential:
        """Return what assertions by ``reference`` are verified by; needed where the capability is ``presence``."""
        raise NotImplementedError

    def enrolled(self) -> str | None:
        """Return a reference that can be enrolled while somebody touches the authenticator; None: nothing is."""
        return None

    def backend(self) -> KeyBackend:
        """Return the backend that the plugin brings: another one at each call."""
        (one,) = self.providers()
        assert isinstance(one, KeyBackend), f"{type(one).__name__} is no KeyBackend"
        assert not isinstance(one, type), "a class where an instance must be"
        return one

    def test_a_description_is_of_one_key(self) -> None:
        """Keyid and algorithm are those of the SPKI; a digest is asked for only where the algorithm hashes so."""
        for reference in self.keys():
            described, public = _described(self.backend(), reference)
            hashed = described.algorithm == "ES256" if public is None else public.prehash
            hashed = hashed or described.algorithm in ALGORITHMS.values()
            assert described.prehash is None or hashed, f"prehash for {described.algorithm}"
            assert (described.prehash or "sha256") == "sha256", f"prehash {described.prehash!r}"
            assert all(isinstance(der, bytes) for der in described.chain), "a certificate that is no DER"

    def test_another_instance_describes_the_same_keys(self) -> None:
        """A key is where it is kept, not in the process that found it."""
        first = {reference: self.backend().describe(reference) for reference in self.keys()}
        assert first == {reference: self.backend().describe(reference) for reference in self.keys()}

    def test_signatures_verify_and_name_their_key(self) -> None:
        """ECDSA in DER, over messages of any length, the empty one too, again and again."""
        for reference in self.keys():
            backend = self.backend()
            described, public = _described(backend, reference)
            for message in (b"", b"\0", b"message", b"message", bytes(32), bytes(LARGE)):
                asked = hashlib.sha256(message).digest() if described.prehash else message
                signed = backend.sign(reference, asked)
                assert isinstance(signed, SignatureResult), f"{signed!r} is no SignatureResult"
                key = SigningCertificate.read(signed.chain[0]).key if public is None else public
                assert signed.keyid == key.keyid, f"a signature by {signed.keyid}"
                if described.algorithm in ALGORITHMS.values():
                    verify_assertion(signed.signature, asked, self.credential(reference), 0)
                else:
                    key.verify(signed.signature, message)

    def test_what_is_no_digest_is_not_signed_for_one(self) -> None:
        """``key.*``, where ``describe`` said ``prehash``."""
        for reference in self.keys():
            backend = self.backend()
            if backend.describe(reference).prehash:
                for length in (0, 31, 33, 64):
                    refused("key.", backend.sign, reference, bytes(length))

    def test_a_key_that_is_not_there_is_not_found(self) -> None:
        """``key.not_found``, to every method, and the next question is answered."""
        backend = self.backend()
        for reference in (self.absent(), "x-conformance:absent"):
            refused("key.not_found", backend.describe, reference)
            refused("key.not_found", backend.sign, reference, bytes(32))
        backend.describe(self.keys()[0])

    def test_a_reference_that_is_none_is_refused(self) -> None:
        """``key.*`` and nothing else: references come from a configuration that may be wrong."""
        backend = self.backend()
        for rest in ("", "/", "..", "../../etc/shadow", "a\0b", "a\nb", "é", "%", "a" * 10_000):
            refused("key.", backend.describe, f"{self.scheme}:{rest}")
        refused("key.", backend.describe, "")

    def test_capabilities_are_declared_and_there(self) -> None:
        """Declared, never probed: both must agree."""
        backend = self.backend()
        assert isinstance(backend.capabilities, tuple), "capabilities that can still change"
        assert set(backend.capabilities) <= _CAPABILITIES, f"{backend.capabilities!r}"
        if "keyless" in backend.capabilities:
            assert isinstance(backend, Keyless), "keyless is declared, and there is no such method"
        if "enrol" in backend.capabilities:
            assert isinstance(backend, Enroller), "enrol is declared, and there is no such method"
            assert self.enrolled() is not None, "enrol is declared: enrolled() must say what may be"
        if "hmac" in backend.capabilities:
            assert isinstance(backend, Macs), "hmac is declared, and there are no such methods"
        if "generate" in backend.capabilities:
            assert isinstance(backend, Generator), "generate is declared, and there is no such method"
            assert self.free() is not None, "generate is declared: free() must say what may be made"
        if "rotate" in backend.capabilities:
            assert isinstance(backend, Rotator), "rotate is declared, and there is no such method"
        hardware = [reference for reference in self.keys() if backend.describe(reference).hardware]
        assert not hardware or "attest" in backend.capabilities, "hardware without the capability attest"

    def test_a_key_is_generated_once_and_never_overwritten(self) -> None:
        """The new key is there for another instance; a name that is taken stays with its key."""
        free, backend = self.free(), self.backend()
        if free is None:
            return
        reference, algorithm = free
        assert isinstance(backend, Generator), "there is no method generate"
        made = backend.generate(reference, algorithm)
        assert made.algorithm == algorithm, f"{made.algorithm} was made"
        assert self.backend().describe(reference) == made
        refused("key.", backend.generate, reference, algorithm)
        refused("key.", backend.generate, self.keys()[0], algorithm)
        refused("key.", backend.generate, self.absent(), "no-such-algorithm")
        assert self.backend().describe(reference) == made


    def test_an_assertion_is_over_one_digest_of_one_credential(self) -> None:
        """Of a FIDO2 key: what it signs counts for nothing else, and its counter does not go back."""
        for reference in self.keys():
            backend = self.backend()
            described = backend.describe(reference)
            if described.algorithm not in ALGORITHMS.values():
                continue
            assert "presence" in backend.capabilities, "a FIDO2 key without the capability presence"
            assert described.prehash == "sha256", "an assertion is over a digest"
            credential, digests = self.credential(reference), [bytes([number]) * 32 for number in range(2)]
            assert credential.spki == described.spki, "the credential of another key"
            first = verify_assertion(backend.sign(reference, digests[0]).signature, digests[0], credential, 0)
            second = backend.sign(reference, digests[1]).signature
            verify_assertion(second, digests[1], credential, first.counter)
            refused("verification.failed", verify_assertion, second, digests[0], credential, first.counter)
            other = replace(credential, rp_id=f"not-{credential.rp_id}")
            refused("verification.failed", verify_assertion, second, digests[1], other, first.counter)

    def test_a_credential_is_enrolled_once_and_never_overwritten(self) -> None:
        """It is there for another instance, and what its assertions are verified by is told whole."""
        reference, backend = self.enrolled(), self.backend()
        if reference is None:
            return
        assert isinstance(backend, Enroller), "there is no method enrol"
        made = backend.enrol(reference, "")
        described = made.description
        assert self.backend().describe(reference) == described
        if described.algorithm in ALGORITHMS.values():
            credential = Credential(described.spki, made.rp_id, made.origin, made.user_verification)
            signature = self.backend().sign(reference, bytes(32)).signature
            verify_assertion(signature, bytes(32), credential, made.counter)
        refused("key.", backend.enrol, reference, "")
        refused("key.", backend.enrol, self.keys()[0], "")
        refused("key.", backend.enrol, self.absent(), "no-such-algorithm")
        assert self.backend().describe(reference) == described

    def test_a_rotated_key_stays_and_the_new_one_has_a_name_of_its_own(self) -> None:
        """What was decided with the old key is signed with the old key (T9 begins where names move)."""
        backend = self.backend()
        if "rotate" not in backend.capabilities:
            return
        assert isinstance(backend, Rotator), "there is no method rotate"
        old = self.keys()[0]
        before = backend.describe(old)
        names, keyids = {old}, {before.keyid}
        name = old
        for _ in range(3):
            made = backend.rotate(name, before.algorithm)
            assert made.key.startswith(f"{self.scheme}:"), f"{made.key!r} is no reference of this backend"
            assert made.description.algorithm == before.algorithm, f"{made.description.algorithm} was made"
            assert made.key not in names, f"{made.key} is the name of another key"
            assert made.description.keyid not in keyids, "the same key twice"
            names.add(made.key)
            keyids.add(made.description.keyid)
            assert self.backend().describe(made.key) == made.description
            name = made.key
        assert self.backend().describe(old) == before
        refused("key.not_found", backend.rotate, self.absent(), before.algorithm)
        refused("key.", backend.rotate, old, "no-such-algorithm")


def _described(backend: KeyBackend, reference: str) -> tuple[KeyDescription, PublicKey | None]:
    """Return what a backend says of a key, and its public half: None for a keyless one, which has no lasting one."""
    described = backend.describe(reference)
    assert isinstance(described, KeyDescription), f"{described!r} is no KeyDescription"
    if "keyless" in described.capabilities:
        assert (described.keyid, described.spki) == ("", b""), "a keyless key with a lasting public half"
        return described, None
    public = PublicKey.from_spki(described.spki)
    assert described.keyid == public.keyid, f"keyid {described.keyid}, and the SPKI's is {public.keyid}"
    fitting = {public.algorithm}
    if "presence" in described.capabilities and public.algorithm in ALGORITHMS:
        fitting.add(ALGORITHMS[public.algorithm])
    assert described.algorithm in fitting, f"{described.algorithm} with a key for {public.algorithm}"
    return described, public
