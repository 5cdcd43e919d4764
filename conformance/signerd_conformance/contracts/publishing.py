"""Contracts of what publishes: audit sinks and transparency logs."""

import hashlib
import itertools
import json
import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from signerd.contracts.providers import AuditSink, Finder, TransparencyLog
from signerd.contracts.values import LogFound
from signerd_conformance.contracts.plugin import PluginContract, refused, settled
from signerd_conformance.vectors.areas import text_of

__all__ = ["AuditSinkContract", "TransparencyLogContract"]

_LARGE: Final = 1 << 20
_signatures: Final = itertools.cycle(
    [vector for vector in json.loads(text_of("ecdsa-der"))["accept"] if vector["algorithm"] == "ES256"]
)
"""Real ones, by a key whose private half is a public number."""


class AuditSinkContract(PluginContract):
    """A subclass gives :meth:`kept` and :meth:`outage`."""

    hook = "signerd_audit_sinks"

    def kept(self) -> Sequence[bytes]:
        """Return all leaves that are kept now, oldest first, read from where they are kept and not from the plugin."""
        raise NotImplementedError

    def outage(self) -> AbstractContextManager[object]:
        """Return a context in which nothing can be kept: a server that is down, a disk that is full."""
        raise NotImplementedError

    def sink(self) -> AuditSink:
        """Return the sink that the plugin brings: another object at each call."""
        (one,) = self.providers()
        assert isinstance(one, AuditSink), f"{type(one).__name__} is no AuditSink"
        assert not isinstance(one, type), "a class where an instance must be"
        return one

    def test_leaves_are_kept_in_their_order_byte_for_byte(self) -> None:
        """Every byte counts: what is hashed is these bytes, whatever they mean."""
        of_any_kind = [b"", b" \r\n", b"\0\xff" + secrets.token_bytes(8), secrets.token_bytes(_LARGE)]
        leaves = [_leaf(), _leaf('"é\\n\u2028"'), *of_any_kind]
        self._ship(self.sink(), leaves)
        self._ends_with(leaves)

    def test_what_is_shipped_is_kept_when_ship_returns(self) -> None:
        """Each time, and an empty shipment is one too."""
        sink = self.sink()
        for _ in range(3):
            leaves = [_leaf(), _leaf()]
            self._ship(sink, leaves)
            self._ends_with(leaves)
            before = list(self.kept())
            self._ship(sink, [])
            assert list(self.kept()) == before, "an empty shipment changed something"

    def test_another_instance_adds_to_what_is_kept(self) -> None:
        """A publisher that was started again goes on where the last one was."""
        first, second = [_leaf()], [_leaf()]
        self._ship(self.sink(), first)
        self._ship(self.sink(), second)
        self._ends_with(first + second)

    def test_what_comes_again_is_kept_again_or_once(self) -> None:
        """A publisher that was killed after a shipment sends it once more: no error, and nothing is lost."""
        leaves = [_leaf(), _leaf()]
        sink = self.sink()
        self._ship(sink, leaves)
        self._ship(sink, leaves)
        kept = list(self.kept())
        for leaf in leaves:
            assert kept.count(leaf) in (1, 2), f"{kept.count(leaf)} times"

    def test_an_outage_is_told_and_is_over_when_it_is_over(self) -> None:
        """``audit.unavailable``; what was not kept can be shipped again."""
        sink = self.sink()
        lost = [_leaf(), _leaf()]
        with self.outage():
            refused("audit.unavailable", sink.ship, lost)
        self._ship(sink, lost)
        self._ends_with(lost)

    def _ship(self, sink: AuditSink, leaves: list[bytes]) -> None:
        ship: Any = sink.ship
        said = ship(list(leaves))
        assert said is None, f"ship returned {said!r}"

    def _ends_with(self, leaves: list[bytes]) -> None:
        kept = [bytes(leaf) for leaf in self.kept()[-len(leaves) :]]
        assert kept == leaves, f"the last that is kept is not what was shipped: {kept!r:.200}"


class TransparencyLogContract(PluginContract):
    """A subclass gives :meth:`prove`, :meth:`outage` and :meth:`lies`."""

    hook = "signerd_transparency_logs"

    def prove(self, entry: bytes, payload_digest: bytes, signature: bytes, verifier: bytes) -> None:
        """Raise unless the entry is of these and proves that the log has them, by other code than the plugin's own."""
        raise NotImplementedError

    def outage(self) -> AbstractContextManager[object]:
        """Return a context in which the log cannot be reached."""
        raise NotImplementedError

    def lies(self) -> Sequence[AbstractContextManager[object]]:
        """Return contexts, in each of which the log answers with something that proves nothing; one at the least."""
        raise NotImplementedError

    def log(self) -> TransparencyLog:
        """Return the log that the plugin brings: another object at each call."""
        (one,) = self.providers()
        assert isinstance(one, TransparencyLog), f"{type(one).__name__} is no TransparencyLog"
        assert not isinstance(one, type), "a class where an instance must be"
        assert one.kind in ("log", "stamp"), f"of kind {one.kind!r}"
        return one

    def test_an_entry_proves_what_was_submitted(self) -> None:
        """Each its own, however many came before."""
        log = self.log()
        for _ in range(5):
            submitted = _submission()
            self.prove(_entry(log, submitted), *submitted)

    def test_another_instance_goes_on(self) -> None:
        """The log is where it is, not in the process that asks it."""
        for _ in range(2):
            submitted = _submission()
            self.prove(_entry(self.log(), submitted), *submitted)

    def test_what_comes_again_has_an_entry_again(self) -> None:
        """The same or another: a publisher that was killed before it had the answer asks once more."""
        log, submitted = self.log(), _submission()
        for _ in range(2):
            self.prove(_entry(log, submitted), *submitted)

    def test_an_outage_is_told_and_is_over_when_it_is_over(self) -> None:
        """``transparency.unavailable``."""
        log, submitted = self.log(), _submission()
        with self.outage():
            refused("transparency.unavailable", log.submit, *submitted)
        self.prove(_entry(log, submitted), *submitted)

    def test_what_the_log_says_is_checked_before_it_is_returned(self) -> None:
        """``transparency.unavailable`` for an answer that proves nothing, and the next true one is taken."""
        log, lies = self.log(), self.lies()
        assert lies, "lies() names no way to be lied to"
        for lie in lies:
            submitted = _submission()
            with lie:
                refused("transparency.unavailable", log.submit, *submitted)
            self.prove(_entry(log, submitted), *submitted)

    def test_a_log_that_can_look_finds_what_it_has(self) -> None:
        """Capability ``find``, declared or not there: the entry of a digest, nothing of another, and an outage told."""
        log, (digest, signature, verifier) = self.log(), _submission()
        declared = "find" in getattr(log, "capabilities", ())
        assert isinstance(log, Finder) == declared, "capabilities say otherwise than the class"
        if not isinstance(log, Finder):
            return
        assert _found(log, hashlib.sha256(secrets.token_bytes(8)).digest()) == ()
        _entry(log, (digest, signature, verifier))
        proofs = _found(log, digest)
        assert proofs, "what was submitted is not found"
        for proof in proofs:
            self.prove(proof, digest, signature, verifier)
        with self.outage():
            refused("transparency.unavailable", log.find, digest)


def _found(log: Finder, digest: bytes) -> tuple[bytes, ...]:
    found = settled(log.find(digest))
    assert isinstance(found, LogFound), f"{found!r:.200} is no LogFound"
    assert 0 <= found.first <= found.size, f"from {found.first} to {found.size}"
    return found.proofs


def _leaf(more: str = '""') -> bytes:
    return f'{{"kind":"conformance","more":{more},"nonce":"{secrets.token_hex(8)}"}}'.encode()


def _submission() -> tuple[bytes, bytes, bytes]:
    """Return digest, signature and verifier that belong together; not those of the call before."""
    vector = next(_signatures)
    message, signature, spki = (bytes.fromhex(vector[name]) for name in ("message_hex", "der_hex", "spki_hex"))
    return hashlib.sha256(message).digest(), signature, spki


def _entry(log: TransparencyLog, submitted: tuple[bytes, bytes, bytes]) -> bytes:
    entry = settled(log.submit(*submitted))
    assert isinstance(entry, bytes), f"{entry!r:.200} is no entry"
    assert entry, "an empty entry"
    return entry
