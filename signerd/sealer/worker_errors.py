"""What the sealer says when a worker fails, and which errors of its own a worker may have: by its kind."""

from dataclasses import dataclass
from typing import Final

from signerd.errors import CODES
from signerd.wire.worker_calls import CallError

__all__ = ["KEY", "TRANSPARENCY", "WorkerErrors"]


@dataclass(frozen=True, slots=True)
class WorkerErrors:
    """``prefix`` begins every code that the worker may send. The rest is said of it: it is ``down``, its answer was
    ``late`` or out of ``shape``, it ``died`` with the call, it had a ``foreign`` code."""

    prefix: str
    down: CallError
    late: CallError
    died: CallError
    shape: CallError
    foreign: CallError

    def told(self, error: CallError | None) -> CallError:
        """Return a worker's error if it may have it; anything else is a lie."""
        if error is None or error.code not in CODES or not error.code.startswith(self.prefix):
            return self.foreign
        return CallError(error.code, error.reason[:64], error.message[:200], error.operator)


KEY: Final = WorkerErrors(
    "key.",
    CallError("key.backend_unavailable", "worker_down", "the key's backend is not available"),
    CallError("key.backend_unavailable", "call_deadline", "the key's backend did not answer in time"),
    CallError("key.backend_unavailable", "worker_died", "the key's backend is not available"),
    CallError("key.backend_fault", "answer_shape", "the key's backend failed"),
    CallError("key.backend_fault", "foreign_code", "the key's backend failed"),
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
