"""What the sealer says when a worker fails, and which errors of its own a worker may have: by its kind."""

import re
from dataclasses import dataclass
from typing import Final

from signerd.errors import CODES
from signerd.wire.worker_calls import CallError

__all__ = ["KEY", "TRANSPARENCY", "WorkerErrors"]

_REASON: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class WorkerErrors:
    """``prefix`` begins every code that the worker may send. The rest is said of it, by these very objects, for a
    worker may give the same reasons: it is ``down``, its answer was ``late`` or out of ``shape``, it ``died`` with the
    call, it had a ``foreign`` code. ``callers`` are the reasons for which it may say ``request.malformed``: what a
    caller handed over, and it alone reads, is not what the caller said."""

    prefix: str
    down: CallError
    late: CallError
    died: CallError
    shape: CallError
    foreign: CallError
    callers: frozenset[str] = frozenset()

    def told(self, error: CallError | None) -> CallError:
        """Return a worker's error if it may have it, anything else is a lie; its texts are cut and printable, and a
        reason that is no snake_case word is ``refused``."""
        if error is None or error.code not in CODES:
            return self.foreign
        callers = error.code == "request.malformed" and error.reason in self.callers
        if not callers and not error.code.startswith(self.prefix):
            return self.foreign
        reason = error.reason if _REASON.fullmatch(error.reason) else "refused"
        return CallError(error.code, reason, _plain(error.message, 200), _plain(error.operator, 1000))


def _plain(text: str, most: int) -> str:
    """Return the front of what a worker wrote with everything escaped that does not print: it must not forge a line of
    the log, nor fill it."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:most])[:most]


KEY: Final = WorkerErrors(
    "key.",
    CallError("key.backend_unavailable", "worker_down", "the key's backend is not available"),
    CallError("key.backend_unavailable", "call_deadline", "the key's backend did not answer in time"),
    CallError("key.backend_unavailable", "worker_died", "the key's backend is not available"),
    CallError("key.backend_fault", "answer_shape", "the key's backend failed"),
    CallError("key.backend_fault", "foreign_code", "the key's backend failed"),
    frozenset({"descriptor_kind", "descriptor_read", "size_mismatch"}),
)
"""A key worker."""
TRANSPARENCY: Final = WorkerErrors(
    "transparency.",
    CallError("transparency.unavailable", "worker_down", "the publisher is not available"),
    CallError("transparency.unavailable", "call_deadline", "the publisher did not answer in time"),
    CallError("transparency.unavailable", "worker_died", "the publisher is not available"),
    CallError("transparency.unavailable", "answer_shape", "the publisher failed"),
    CallError("transparency.unavailable", "foreign_code", "the publisher failed"),
)
"""A publisher."""
