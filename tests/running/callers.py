"""Callers that sign without pause and keep whatever they were given, for tests that kill what serves them."""

import base64
import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

from running.daemon import RELEASE
from signerd.errors import SignerdError
from signerd_client import BatchOutcome, Signer, SignRequest, Subject

__all__ = ["SBOM_TYPE", "Callers", "Held", "held", "request", "sign_until", "unrecorded"]

SBOM_TYPE = "https://cyclonedx.org/bom"
SBOM = b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": []}'
DELIVERED = {"signed", "signed_undelivered", "unknown"}
"""How the record of a signature that somebody holds may end: nobody may have written that it was not given."""


@dataclass(frozen=True, slots=True)
class Held:
    """A signature that a caller holds: the record that its receipt names, and the Statement that was signed."""

    audit_id: str
    statement_sha256: str


def request(number: int = 0) -> SignRequest:
    """Return a request whose Statement no other number has."""
    subject = Subject(f"app-{number}", {"sha256": f"{number:064x}"})
    return SignRequest(
        subject=[subject], predicate_type=SBOM_TYPE, predicate=SBOM, scanner_image_digest=RELEASE
    )


def held(bundle: bytes, receipt: dict[str, object]) -> Held:
    """Return what a caller holds by an answer; the digest is of the bundle's own payload."""
    payload = base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"])
    return Held(str(receipt["audit_id"]), sha256(payload).hexdigest())


def sign_until(path: Path, seconds: float) -> float:
    """Ask until a signature comes, and return how long that took; fails with the last error after
    ``seconds``."""
    started = time.monotonic()
    error: SignerdError | None = None
    while time.monotonic() < started + seconds:
        try:
            with Signer.connect(path, timeout_s=1) as signer:
                while time.monotonic() < started + seconds:
                    try:
                        signer.sign_dsse(request(), deadline_s=seconds)
                    except SignerdError as refused:
                        error = refused
                        if not refused.retryable:
                            raise
                        time.sleep(0.005)
                    else:
                        return time.monotonic() - started
        except SignerdError as refused:
            error = refused
            time.sleep(0.005)
    raise AssertionError(f"no signature in {seconds} s: {error!r}")


def unrecorded(kept: Iterable[Held], leaves: Iterable[dict[str, object]]) -> list[str]:
    """Return what is wrong with the record of the signatures in ``kept``: nothing, if promise 2 holds.

    Also that every ``decided`` leaf was closed exactly once, whoever holds its signature, and that no record has
    an end without a beginning.
    """
    decided: dict[str, str] = {}
    outcomes: dict[str, list[str]] = {}
    wrong = []
    for leaf in leaves:
        audit_id = str(leaf["audit_id"])
        if leaf["kind"] == "decided":
            text = leaf["leaf"]
            assert isinstance(text, bytes)
            if audit_id in decided:
                wrong.append(f"{audit_id}: decided twice")
            decided[audit_id] = json.loads(text)["statement_sha256"]
        elif leaf["kind"] == "outcome":
            outcomes.setdefault(audit_id, []).append(str(leaf["outcome"]))
    wrong += [f"{i}: {len(outcomes.get(i, ()))} outcomes" for i in decided if len(outcomes.get(i, ())) != 1]
    wrong += [f"{i}: an outcome and no decided leaf" for i in outcomes if i not in decided]
    for one in kept:
        if decided.get(one.audit_id) != one.statement_sha256:
            wrong.append(f"{one.audit_id}: held, and not decided")
        elif not DELIVERED.issuperset(outcomes.get(one.audit_id, ())):
            wrong.append(f"{one.audit_id}: held, and closed as {outcomes[one.audit_id]}")
    return wrong


class Callers:
    """Threads that sign as fast as they are served, each on a connection of its own, until the block ends.

    Whatever happens to the daemon, they connect again and go on. ``held`` is every signature that they got;
    ``errors`` counts the codes of everything else.
    """

    def __init__(self, path: Path, number: int = 3) -> None:
        self.held: list[Held] = []
        self.errors: dict[str, int] = {}
        self._path = path
        self._answers: list[tuple[bytes, dict[str, object]]] = []
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(n,)) for n in range(number)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(30)
        self.held = [held(bundle, receipt) for bundle, receipt in self._answers]

    @property
    def count(self) -> int:
        """How many signatures they have got so far."""
        return len(self._answers)

    def wait_for_more(self, more: int, seconds: float = 10) -> None:
        """Wait until there are ``more`` signatures than now."""
        wanted, until = self.count + more, time.monotonic() + seconds
        while self.count < wanted:
            assert time.monotonic() < until, f"no more signatures: {self.errors}"
            time.sleep(0.001)

    def _call(self, number: int) -> None:
        statement = number << 40
        while not self._ending.is_set():
            try:
                with Signer.connect(self._path, timeout_s=1) as signer:
                    while not self._ending.is_set():
                        statement += 8
                        self._ask(signer, statement)
            except SignerdError as error:
                self._count(error)
                self._ending.wait(0.01)

    def _ask(self, signer: Signer, statement: int) -> None:
        """Ask for eight at once, so that many are in flight when something dies."""
        outcome = BatchOutcome(0)
        for outcome in signer.sign_batch([request(statement + n) for n in range(8)], deadline_s=5):
            if outcome.signed is not None:
                self._answers.append((outcome.signed.bundles[0], outcome.signed.receipt))
        if outcome.error is not None:
            if outcome.error.code.startswith("daemon."):
                raise outcome.error
            self._count(outcome.error)
            self._ending.wait(0.01)

    def _count(self, error: SignerdError) -> None:
        name = f"{error.code}:{error.reason}"
        self.errors[name] = self.errors.get(name, 0) + 1
