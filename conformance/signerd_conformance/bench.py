"""What the cases of one run share: the worker at work, the keys and what is known of them."""

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from signerd.errors import Refusal
from signerd.verification.fido2 import ALGORITHMS, Credential, verify_assertion
from signerd.verification.keys import PublicKey
from signerd.wire.messages import Error, Hello
from signerd.wire.worker_calls import DescribeResult, SignResultParams
from signerd_conformance.profile import Judgement
from signerd_conformance.service import Service
from signerd_conformance.worker import Start, Violation, Worker, shaped, told

__all__ = ["WORKER_PROTOCOL", "Bench", "Case", "Key", "greeted", "verify"]

WORKER_PROTOCOL: Final = "docs/protocol.md, Worker protocol"


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the worker: its reference, its public half, and whether ``sign`` takes the SHA-256 of the message.

    ``credential``: of an authenticator's key, what its assertions are verified by.
    """

    reference: str
    public: PublicKey
    prehash: bool
    capabilities: tuple[str, ...]
    credential: Credential | None = None

    @property
    def algorithm(self) -> str:
        """What ``describe`` must say."""
        return self.public.algorithm if self.credential is None else ALGORITHMS.get(self.public.algorithm, "")

    def params(self, message: bytes) -> dict[str, object]:
        """Return the params of ``sign`` for ``message``."""
        return {"key": self.reference, "message": hashlib.sha256(message).digest() if self.prehash else message}


@dataclass(slots=True)
class Bench:
    """``keys``: the references to judge. ``algorithm``: what a key that is not there is made with, or None. ``rp_id``
    and ``origin`` are those of authenticators' keys."""

    start: Start
    keys: tuple[str, ...]
    algorithm: str | None = None
    rp_id: str = ""
    origin: str = ""
    made: dict[str, DescribeResult] = field(default_factory=dict)
    _known: dict[str, Key] = field(default_factory=dict)
    _worker: Worker | None = None

    def worker(self) -> Worker:
        """Return the worker that the cases share, greeted."""
        if self._worker is None:
            self._worker = greeted(self.open())
        return self._worker

    def open(self) -> Worker:
        """Return a new worker or, at a socket path, a new connection; nothing has been said yet."""
        return Worker(self.start) if self.start.at_socket is None else Service(self.start, self.start.at_socket)

    def drop(self) -> None:
        """End the shared worker: the next case gets a new one."""
        if self._worker is not None:
            self._worker.end(0)
            self._worker = None

    @contextlib.contextmanager
    def another(self) -> Iterator[Worker]:
        """A worker of its own for one case, greeted."""
        if self.start.at_socket is not None:
            self.drop()  # it serves one connection at a time
        with self.open() as worker:
            yield greeted(worker)

    def key(self, reference: str) -> Key:
        """Return what the worker says of a key, which is made first where it is not there and one may be made."""
        known = self._known.get(reference)
        if known is None:
            described = self._described(reference)
            try:
                public = PublicKey.from_spki(described.spki)
            except Refusal as exc:
                raise Violation(f"the spki of {reference} is no key that signerd uses ({exc.reason})") from None
            credential = None
            if described.algorithm in ALGORITHMS.values():
                credential = Credential(described.spki, self.rp_id, self.origin, user_verification=False)
            known = Key(reference, public, described.prehash == "sha256", described.capabilities, credential)
            self._known[reference] = known
        return known

    def known(self, reference: str) -> Key | None:
        """Return what the worker has said of a key so far."""
        return self._known.get(reference)

    def absent(self) -> str:
        """Return a reference of the first key's scheme that no key has."""
        return f"{self.keys[0].partition(':')[0]}:conformance-absent-{secrets.token_hex(8)}"

    def _described(self, reference: str) -> DescribeResult:
        worker = self.worker()
        answer = worker.ask("describe", {"key": reference})
        if not isinstance(answer, Error):
            return shaped(answer.result, DescribeResult, "describe")
        if answer.code != "key.not_found" or self.algorithm is None:
            raise Violation(f"{reference} cannot be described: {told(answer)}")
        made = worker.result("generate", {"key": reference, "algorithm": self.algorithm}, DescribeResult)
        self.made[reference] = made
        return made


class Case(NamedTuple):
    """A case: its stable name, its source, and its judgement of the worker or, for ``judge_key``, of each key.

    An ``optional`` one may be skipped in a run that earns a certificate: it is about what not every backend can.
    """

    name: str
    source: str
    judge: Callable[[Bench], Judgement] | None = None
    judge_key: Callable[[Bench, Key], Judgement] | None = None
    optional: bool = False


def greeted(worker: Worker) -> Worker:
    """Exchange hellos; ends the worker and raises Violation where they are not as they should be."""
    try:
        answer = worker.hello()
        if not isinstance(answer, Hello):
            raise Violation(f"no hello but {told(answer)}")
    except BaseException:
        worker.end(0)
        raise
    return worker


def verify(key: Key, message: bytes, signed: SignResultParams) -> None:
    """Raise Violation unless ``signed`` is the key's signature over ``message`` and says so."""
    if signed.keyid != key.public.keyid:
        raise Violation(f"the signature names {signed.keyid[:80]}, and the key is {key.public.keyid}")
    try:
        if key.credential is None:
            key.public.verify(signed.signature, message)
        else:
            verify_assertion(signed.signature, hashlib.sha256(message).digest(), key.credential, 0)
    except Refusal as exc:
        raise Violation(f"a signature of {len(signed.signature)} bytes: {exc.reason}") from None
