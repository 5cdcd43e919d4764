"""A Rekor v2 log, perhaps of several shards: posts entries, and believes nothing that the log says unproven.

Source: ``rekor-tiles/CLIENTS.md`` and its ``service.go``, v2.3.0; C2SP tlog-tiles for the reading side.
"""

import base64
import logging
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

import trio

from signerd.attestation.canonical import canonical_json
from signerd.attestation.log_entry import LogEntry, log_entry_json, parse_log_entry
from signerd.contracts.values import LogFound
from signerd.errors import Refusal
from signerd.network.exchange import Answer, Exchange
from signerd.verification import rekor2
from signerd.verification.certificates import SigningCertificate
from signerd.verification.checkpoint import Checkpoint, check_log_signature, parse_checkpoint
from signerd.verification.keys import PublicKey
from signerd.verification.log_entry import verify_log_entry
from signerd.verification.logged import signed_by_body
from signerd.verification.signed import KEY_DETAILS, Signed
from signerd.verification.trusted_root import Log
from signerd_log_rekor.exchange import ask, unavailable
from signerd_log_rekor.settings import Settings
from signerd_log_rekor.tiles import ENTRIES_BYTES, TILE_BYTES, bundle_at, inclusion_proof, starts_back

__all__ = ["RekorLog", "submission"]

_log = logging.getLogger(__name__)

ENTRY_BYTES: Final = 256 * 1024
CHECKPOINT_BYTES: Final = 64 * 1024
MOST_FOUND: Final = 8
"""Entries that :meth:`RekorLog.find` brings at most: one signature has one, and one statement few."""
PAUSE_S: Final = 0.5
"""Seconds before a busy log is asked again; doubled each time."""
_BUSY: Final = frozenset({429, 502, 503, 504})
_INDEX: Final = re.compile(r"[0-9]{1,18}", re.ASCII)

T = TypeVar("T")


class _Again(Exception):  # an answer, no error
    """The log is busy."""


class _Frozen(Exception):  # an answer, no error
    """The shard takes no more entries."""


class RekorLog:
    """The provider. Shards are tried in their order; one that is frozen is not asked again."""

    kind = "log"
    capabilities = ("find",)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._exchange = Exchange(settings.ca)
        self._frozen: set[int] = set()

    async def submit(self, payload_digest: bytes, signature: bytes, verifier: bytes) -> bytes:
        """Return the entry as JSON, checked: its body is of this signature, key and digest, its proof leads to a
        checkpoint that the log signed, and enough witnesses did.

        Raises ``transparency.unavailable``: ``deadline``, ``unreachable``, ``log_refused``, ``log_answer``,
        ``log_proof``, ``log_frozen``, ``answer_too_large``, ``key_refused``.
        """
        try:
            signed, request = submission(payload_digest, signature, verifier)
        except (Refusal, ValueError) as exc:
            raise unavailable("key_refused", str(exc)) from exc
        with trio.move_on_after(self._settings.deadline_s):
            for place, shard in enumerate(self._settings.shards):
                if place in self._frozen:
                    continue
                try:
                    entry = await self._insisting(partial(self._enter, shard, signed, request))
                except _Frozen:
                    self._frozen.add(place)
                    _log.warning("%s takes no more entries", shard.url)
                    continue
                return log_entry_json(self._proven(entry, signed, shard))
            raise unavailable("log_frozen", "no shard of the log takes entries")
        raise unavailable("deadline", f"no entry within {self._settings.deadline_s:g} s")

    async def find(self, payload_digest: bytes) -> LogFound:
        """Return the entries over this digest among the newest of each shard: a Rekor v2 has no search, so its bundles
        of entries are read backwards. Each is proven as that of a submission is, and its signature verified.

        ``first`` and ``size`` are those of the last shard: those before it are asked first, and so fill up first.
        Raises ``transparency.unavailable`` as :meth:`submit` does: a shard that cannot be read is none that has
        nothing.
        """
        proofs: list[bytes] = []
        looked = (0, 0)
        with trio.move_on_after(self._settings.deadline_s):
            for shard in self._settings.shards:
                looked = await self._insisting(partial(self._look, shard, payload_digest, proofs))
            return LogFound(tuple(proofs), *looked)
        raise unavailable("deadline", f"not all entries read within {self._settings.deadline_s:g} s")

    async def _look(self, shard: Log, payload_digest: bytes, proofs: list[bytes]) -> tuple[int, int]:
        """Add what a shard has; return from which entry to which size it was looked at."""
        text, checkpoint = await self._checkpoint(shard)
        sought = b'"' + base64.b64encode(payload_digest) + b'"'
        first = checkpoint.size

        async def fetch(path: str) -> bytes | None:
            found = await ask(self._exchange, "GET", f"{shard.url}/api/v2/tile/{path}", ENTRIES_BYTES)
            return found.body if found.status == 200 else None

        try:
            for first in starts_back(checkpoint.size, self._settings.find_entries):
                for place, body in enumerate(await bundle_at(first, checkpoint.size, fetch)):
                    signed = _signed(body, payload_digest) if sought in body and len(proofs) < MOST_FOUND else None
                    if signed is not None:
                        entry = await self._proof_of(shard, first + place, body, text, checkpoint)
                        proofs.append(log_entry_json(self._proven(entry, signed, shard)))
        except ValueError as exc:
            raise unavailable("log_answer", f"{shard.url}: {exc}") from exc
        return first, checkpoint.size

    async def _insisting(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask again, after growing pauses, as long as the log is busy."""
        pause = PAUSE_S
        while True:
            try:
                return await ask()
            except _Again:
                await trio.sleep(pause)
                pause *= 2

    async def _enter(self, shard: Log, signed: Signed, request: bytes) -> LogEntry:
        answer = await ask(self._exchange, "POST", f"{shard.url}/api/v2/log/entries", ENTRY_BYTES, request)
        if answer.status in _BUSY:
            raise _Again
        if answer.status == 405:
            raise _Frozen
        if answer.status == 409:
            return await self._insisting(partial(self._rebuilt, shard, signed, _index(answer)))
        if answer.status not in {200, 201}:
            raise unavailable("log_refused", f"{shard.url}: status {answer.status}: {answer.body[:200]!r}")
        try:
            return parse_log_entry(answer.body)
        except Refusal as refusal:
            raise unavailable("log_answer", f"{shard.url}: {refusal}") from refusal

    async def _rebuilt(self, shard: Log, signed: Signed, index: int) -> LogEntry:
        """Make the entry that a 409 does not bring: body from what was signed, proof from the tiles."""
        text, checkpoint = await self._checkpoint(shard)
        if checkpoint.size <= index:
            raise _Again  # an entry that another post has just made: it is integrated before the next checkpoint
        return await self._proof_of(shard, index, _body(signed), text, checkpoint)

    async def _checkpoint(self, shard: Log) -> tuple[str, Checkpoint]:
        answer = await ask(self._exchange, "GET", f"{shard.url}/api/v2/checkpoint", CHECKPOINT_BYTES)
        if answer.status in _BUSY:
            raise _Again
        if answer.status != 200:
            raise unavailable("log_answer", f"{shard.url}: checkpoint: status {answer.status}")
        try:
            text = answer.body.decode()
            checkpoint = parse_checkpoint(text)
            check_log_signature(checkpoint, shard.key, shard.checkpoint_id[:4], shard.host)
            return text, checkpoint
        except (UnicodeDecodeError, Refusal) as exc:
            raise unavailable("log_answer", f"{shard.url}: checkpoint: {exc}") from exc

    async def _proof_of(self, shard: Log, index: int, body: bytes, text: str, checkpoint: Checkpoint) -> LogEntry:
        async def fetch(path: str) -> bytes | None:
            found = await ask(self._exchange, "GET", f"{shard.url}/api/v2/tile/{path}", TILE_BYTES)
            return found.body if found.status == 200 else None

        proof = await inclusion_proof(index, checkpoint.size, fetch)
        if proof is None:
            raise unavailable("log_answer", f"{shard.url}: tiles for entry {index} are missing")
        return LogEntry(
            shard.log_id, index, "hashedrekord", rekor2.VERSION, body, 0, None, text, checkpoint.root,
            checkpoint.size, proof, index,
        )  # fmt: skip

    def _proven(self, entry: LogEntry, signed: Signed, shard: Log) -> LogEntry:
        witnesses = self._settings.witnesses
        try:
            logged = verify_log_entry(entry, signed, [shard], witnesses)
        except Refusal as refusal:
            raise unavailable("log_proof", f"{shard.url}: {refusal}") from refusal
        if entry.version != rekor2.VERSION:
            raise unavailable("log_proof", f"{shard.url}: not an entry of Rekor v2")
        if logged.witnesses < self._settings.witness_threshold:
            raise unavailable("log_proof", f"{shard.url}: {logged.witnesses} witnesses cosigned")
        return entry


def submission(payload_digest: bytes, signature: bytes, verifier: bytes) -> tuple[Signed, bytes]:
    """Return what was signed, and the body of the post. Refuses with SignerdError or ValueError what no Rekor v2 log
    takes."""
    certificate = None
    try:
        key = PublicKey.from_spki(verifier)
    except Refusal:
        read = SigningCertificate.read(verifier)
        key, certificate = read.key, read.der
    signed = Signed.of_digest(signature, key, certificate, payload_digest)
    return signed, canonical_json(rekor2.hashedrekord_request(signed, rekor2.key_details(key)))


def _signed(body: bytes, payload_digest: bytes) -> Signed | None:
    """Return what an entry tells of, if that is over this digest."""
    try:
        signed = signed_by_body(body)
    except Refusal:
        return None  # the digest stands in it, but it is no signature over that
    return signed if signed.digest == payload_digest else None


def _body(signed: Signed) -> bytes:
    """Return the entry's body by the one name that the key has; an algorithm may have several."""
    names = sorted(KEY_DETAILS[signed.key.algorithm])
    return rekor2.bodies("hashedrekord", signed)[names.index(rekor2.key_details(signed.key))]


def _index(answer: Answer) -> int:
    told = answer.headers.get("x-log-index", "")
    if not _INDEX.fullmatch(told):
        raise unavailable("log_answer", f"a duplicate without its index: {told[:40]!r}")
    return int(told)
