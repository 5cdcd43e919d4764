"""The whole error tree: every way in which signerd says no.

::

    SignerdError            stable code, reason, a public text and the operator's text
    ├── Refusal             policy said no: expected, recorded, not a defect
    └── Fault               signerd could not decide or could not sign; it fails closed
        └── PluginError     a plugin raised something foreign or overran its deadline

Two texts: ``str(exc)`` is for the operator and may name paths and plugins; ``exc.public`` goes to the peer and
never does. ``exc.reason`` is a stable snake_case word, always there. The table :data:`CODES` is the one source
of class, retryability and exit code of each stable code; the protocol document is generated from it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

__all__ = [
    "CODES",
    "CodeInfo",
    "Detail",
    "Fault",
    "PluginError",
    "Refusal",
    "SignerdError",
    "error_from",
    "exit_code",
]

Detail = str | int | list[str]
"""A value of ``details``: never a path, a token or text from a plugin."""


class CodeInfo(NamedTuple):
    """What a stable code means: its class, whether trying again can help, and the exit code of a command."""

    kind: Literal["refusal", "fault"]
    retryable: bool
    exit_code: int


def _table() -> dict[str, CodeInfo]:
    retryable = frozenset(
        "entitlement.unavailable quota.rate quota.concurrency release.unavailable key.backend_unavailable "
        "key.presence_required transparency.unavailable audit.unavailable request.deadline daemon.overloaded "
        "daemon.draining".split()
    )
    refusals = {
        3: "auth.required auth.token_invalid auth.token_expired auth.proof_invalid auth.proof_replayed "
        "auth.nonce_required auth.scope_missing auth.tenant_mismatch auth.peer_denied entitlement.denied "
        "entitlement.expired entitlement.version_window quota.rate quota.concurrency quota.size quota.daily "
        "release.untrusted release.approval_required key.forbidden key.not_yet_valid key.suspended key.revoked "
        "key.expired key.algorithm_refused key.presence_required approval.required",
        4: "key.not_found",
        2: "predicate.unsupported predicate.invalid statement.invalid request.malformed request.too_large "
        "request.unsupported request.conflict",
        6: "verification.failed",
        1: "state.locked",
    }
    faults = {
        1: "entitlement.unavailable release.unavailable key.backend_unavailable key.backend_fault "
        "transparency.unavailable audit.unavailable daemon.overloaded daemon.draining internal",
        2: "request.deadline request.cancelled",
    }
    classes: Mapping[Literal["refusal", "fault"], Mapping[int, str]] = {"refusal": refusals, "fault": faults}
    table: dict[str, CodeInfo] = {}
    for kind, groups in classes.items():
        for status, codes in groups.items():
            for code in codes.split():
                again = code in retryable
                table[code] = CodeInfo(kind, again, 10 if again else status)
    return table


CODES: Final[Mapping[str, CodeInfo]] = MappingProxyType(_table())
"""Every stable code. Codes are never reused and never change class."""


class SignerdError(Exception):
    """A refusal or fault with a stable code; raise one of the two subclasses, never this class itself.

    ``code`` must stand in :data:`CODES` with the class of the subclass. ``reason`` is a stable snake_case word
    that a program may compare. ``public`` is a sentence for the peer. ``operator`` is the text of ``str()``
    where it must say more than the peer may know. ``details`` are further fields of the wire's ``details``.
    """

    kind: Literal["refusal", "fault"]

    def __init__(
        self,
        code: str,
        reason: str,
        public: str,
        *,
        operator: str | None = None,
        retry_after_ms: int | None = None,
        details: Mapping[str, Detail] | None = None,
    ) -> None:
        info = CODES.get(code)
        if info is None or info.kind != self.kind:
            raise ValueError(f"{code!r} is not the code of a {self.kind}")
        super().__init__(operator or public)
        self.code = code
        self.reason = reason
        self.public = public
        self.retry_after_ms = retry_after_ms
        self.details: dict[str, Detail] = {"reason": reason, **(details or {})}

    @property
    def retryable(self) -> bool:
        """Whether the same request, sent again, can succeed without anybody changing anything."""
        return CODES[self.code].retryable

    def __str__(self) -> str:
        return f"{self.code} ({self.reason}): {super().__str__()}"


class Refusal(SignerdError):
    """Policy said no."""

    kind = "refusal"


class Fault(SignerdError):
    """signerd could not decide or sign; nothing was released."""

    kind = "fault"


class PluginError(Fault):
    """What a foreign exception or an overrun deadline of a plugin becomes: ``kind(name)`` for the operator.

    The peer learns the stable code alone; exception texts of plugins never leave the host.
    """

    def __init__(self, code: str, reason: str, *, plugin: str, operator: str) -> None:
        super().__init__(code, reason, "a component of the signer failed", operator=f"{plugin}: {operator}")
        self.plugin = plugin


def error_from(
    code: str, reason: str, public: str, *, operator: str | None = None, details: Mapping[str, Detail] | None = None
) -> SignerdError:
    """Build the Refusal or Fault that ``code`` belongs to: what came over a link becomes an exception again.

    An unknown code, sent by a newer or a lying peer, becomes ``internal``.
    """
    info = CODES.get(code)
    if info is None:
        return Fault("internal", "unknown_code", "the signer failed", operator=f"unknown code {code[:64]!r}: {public}")
    made = Refusal if info.kind == "refusal" else Fault
    rest = {name: value for name, value in (details or {}).items() if name != "reason"}
    return made(code, reason, public, operator=operator, details=rest)


def exit_code(code: str) -> int:
    """The exit code of a command that ends with ``code``; 1 for a code that this version does not know."""
    info = CODES.get(code)
    return 1 if info is None else info.exit_code
