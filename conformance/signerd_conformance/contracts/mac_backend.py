"""Contract of key backends whose keys are secrets that make MACs (capability ``hmac``), inside one process."""

import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import ClassVar

from signerd.attestation.macs import MACS, is_mac_keyid
from signerd.contracts.providers import Generator, KeyBackend, Macs
from signerd.contracts.values import KeyDescription, MacChecked, MacResult
from signerd.errors import Refusal
from signerd_conformance.contracts.plugin import PluginContract, refused

__all__ = ["MacBackendContract"]

MESSAGE = bytes(range(251)) * 40


class MacBackendContract(PluginContract):
    """A subclass gives ``scheme`` and :meth:`keys`, and :meth:`free` where the backend generates."""

    hook = "signerd_key_backends"
    scheme: ClassVar[str]
    """The name of the entry point, without the colon."""

    def keys(self) -> Sequence[str]:
        """Return references to secrets that are there."""
        raise NotImplementedError

    def free(self) -> tuple[str, str] | None:
        """Return a reference that no key has yet and an algorithm to make one with; None: nothing is generated."""
        return None

    def absent(self) -> str:
        """Return a reference of the scheme that no key has."""
        return f"{self.scheme}:absent-{secrets.token_hex(8)}"

    def backend(self) -> KeyBackend:
        """Return the backend that the plugin brings: another one at each call."""
        (one,) = self.providers()
        assert isinstance(one, KeyBackend), f"{type(one).__name__} is no KeyBackend"
        assert not isinstance(one, type), "a class where an instance must be"
        return one

    def macs(self) -> Macs:
        """Return the same as what makes MACs."""
        backend = self.backend()
        assert isinstance(backend, Macs), "there are no methods hmac and check_hmac"
        return backend

    def test_mac_keys_are_described_without_a_public_half(self) -> None:
        """The algorithm is a published one, the keyid of its shape, and the same in every process."""
        keyids = set()
        for reference in self.keys():
            described = self.backend().describe(reference)
            assert isinstance(described, KeyDescription), f"{described!r} is no KeyDescription"
            assert described.algorithm in MACS, f"no MAC is called {described.algorithm!r}"
            assert is_mac_keyid(described.keyid), f"keyid {described.keyid!r}"
            assert (described.spki, described.chain) == (b"", ()), "a secret with a public half"
            assert "hmac" in described.capabilities, "a secret without the capability hmac"
            assert described == self.backend().describe(reference), "another instance describes another key"
            keyids.add(described.keyid)
        assert len(keyids) == len(self.keys()), "two keys with one id"

    def test_mac_capabilities_are_declared_and_there(self) -> None:
        """Declared, never probed: both must agree."""
        backend = self.backend()
        assert "hmac" in backend.capabilities, "the capability hmac is not declared"
        assert isinstance(backend, Macs), "hmac is declared, and there are no such methods"
        assert ("generate" in backend.capabilities) == (self.free() is not None), "free() says otherwise"

    def test_a_mac_is_the_same_however_its_message_is_cut(self) -> None:
        """Parts of any length, memoryviews that are good for one turn alone, and none at all."""
        for reference, algorithm in self._known():
            macs = self.macs()
            whole = macs.hmac(reference, algorithm, [MESSAGE])
            assert isinstance(whole, MacResult), f"{whole!r} is no MacResult"
            assert len(whole.mac) == MACS[algorithm].mac_bytes, f"a MAC of {len(whole.mac)} bytes"
            assert whole.keyid == self.backend().describe(reference).keyid, f"a MAC by {whole.keyid}"
            for size in (1, 63, 64, 65, 4096):
                assert macs.hmac(reference, algorithm, _fleeting(size)) == whole
            assert macs.hmac(reference, algorithm, []) == macs.hmac(reference, algorithm, [b"", b""])

    def test_a_mac_is_compared_whole(self) -> None:
        """Not one of its bits may differ, and no other length will do."""
        for reference, algorithm in self._known():
            macs = self.macs()
            mac = macs.hmac(reference, algorithm, [MESSAGE]).mac
            found = macs.check_hmac(reference, algorithm, [MESSAGE], mac)
            assert isinstance(found, MacChecked), f"{found!r} is no MacChecked"
            assert found.valid is True, "its own MAC is not valid"
            flipped = [mac[:at] + bytes([mac[at] ^ 1]) + mac[at + 1 :] for at in (0, len(mac) // 2, len(mac) - 1)]
            for wrong in (*flipped, b"", mac[:-1], mac[:16], mac + b"\0", mac * 2, bytes(len(mac))):
                assert macs.check_hmac(reference, algorithm, [MESSAGE], wrong).valid is False, f"{len(wrong)} bytes"
            assert macs.check_hmac(reference, algorithm, [MESSAGE[:-1]], mac).valid is False

    def test_a_mac_of_another_key_is_not_valid(self) -> None:
        """Whatever their algorithms."""
        known = self._known()
        macs = self.macs()
        made = {reference: macs.hmac(reference, algorithm, [MESSAGE]).mac for reference, algorithm in known}
        for reference, algorithm in known:
            for other, mac in made.items():
                valid = macs.check_hmac(reference, algorithm, [MESSAGE], mac).valid
                assert valid is (other == reference), f"{reference} takes a MAC of {other}"

    def test_a_secret_is_used_with_one_algorithm(self) -> None:
        """``key.algorithm_refused`` for any other name, published or not."""
        macs = self.macs()
        for reference, algorithm in self._known():
            for other in (*MACS, "", "HMAC-MD5", "ES256"):
                if other != algorithm:
                    refused("key.algorithm_refused", macs.hmac, reference, other, [MESSAGE])
                    refused("key.algorithm_refused", macs.check_hmac, reference, other, [MESSAGE], bytes(32))

    def test_what_the_message_raises_comes_through(self) -> None:
        """A file that ends too soon must not become a MAC over its beginning."""
        for reference, algorithm in self._known():
            macs = self.macs()
            refused("request.malformed", macs.hmac, reference, algorithm, _broken())
            refused("request.malformed", macs.check_hmac, reference, algorithm, _broken(), bytes(32))
            assert macs.hmac(reference, algorithm, [MESSAGE]).mac

    def test_many_threads_at_once(self) -> None:
        """Each call has a thread of its own, and one must not become part of another."""
        reference, algorithm = self._known()[0]
        macs = self.macs()
        expected = [macs.hmac(reference, algorithm, [bytes([n]), MESSAGE]).mac for n in range(8)]

        def work(number: int) -> bytes:
            return macs.hmac(reference, algorithm, chain([bytes([number])], _fleeting(17))).mac

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(work, range(8))) == expected

    def test_a_secret_signs_nothing(self) -> None:
        """``key.*``: what is for MACs is for MACs."""
        for reference in self.keys():
            refused("key.", self.backend().sign, reference, bytes(32))

    def test_a_mac_key_that_is_not_there_is_not_found(self) -> None:
        """``key.not_found``, to every method."""
        backend, macs = self.backend(), self.macs()
        for reference in (self.absent(), "x-conformance:absent"):
            refused("key.not_found", backend.describe, reference)
            refused("key.not_found", macs.hmac, reference, "HMAC-SHA256", [MESSAGE])
            refused("key.not_found", macs.check_hmac, reference, "HMAC-SHA256", [MESSAGE], bytes(32))
        for rest in ("", "/", "..", "../../etc/shadow", "a\0b", "a\nb", "é", "%", "a" * 10_000):
            refused("key.", backend.describe, f"{self.scheme}:{rest}")

    def test_a_secret_is_generated_once_and_never_overwritten(self) -> None:
        """Another instance has it too; a name that is taken stays with its secret."""
        free, backend = self.free(), self.backend()
        if free is None:
            return
        reference, algorithm = free
        assert isinstance(backend, Generator), "there is no method generate"
        made = backend.generate(reference, algorithm)
        assert made.algorithm == algorithm, f"{made.algorithm} was made"
        mac = self.macs().hmac(reference, algorithm, [MESSAGE])
        for other in MACS:
            refused("key.", backend.generate, reference, other)
        refused("key.", backend.generate, self.absent(), "no-such-algorithm")
        assert self.backend().describe(reference) == made
        assert self.macs().hmac(reference, algorithm, [MESSAGE]) == mac

    def _known(self) -> list[tuple[str, str]]:
        backend = self.backend()
        return [(reference, backend.describe(reference).algorithm) for reference in self.keys()]


def _fleeting(size: int) -> Iterator[memoryview]:
    """Yield the message from one buffer, which is overwritten for each part."""
    buffer = bytearray(size)
    for start in range(0, len(MESSAGE), size):
        part = MESSAGE[start : start + size]
        buffer[: len(part)] = part
        with memoryview(buffer)[: len(part)] as view:
            yield view
        buffer[:] = bytes(len(buffer))


def _broken() -> Iterator[bytes]:
    yield MESSAGE
    raise Refusal("request.malformed", "size_mismatch", "the message ends here")
