"""The one boundary for exceptions of foreign code.

A provider refuses with a ``SignerdError``, which passes through untouched. Anything else that comes out of it
is a defect of the plugin: a foreign exception, a result of the wrong type, a deadline that was overrun. Each
becomes a :class:`~signerd.errors.PluginError` with the stable code of the provider's kind, so that no stage
holds a ``try`` and no plugin's text reaches a peer.

trio is imported by :meth:`Guard.awaited` alone: a key worker is guarded too, and runs without it.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeVar, overload

from signerd.errors import PluginError, SignerdError

__all__ = ["CODE_OF_KIND", "PROVIDER_SECONDS", "Guard", "Kind", "told"]

Kind = Literal["authenticator", "entitlement", "release", "predicate", "quota", "key_backend", "publisher", "hook"]

CODE_OF_KIND: Final[dict[Kind, str]] = {
    "authenticator": "internal",
    "entitlement": "entitlement.unavailable",
    "release": "release.unavailable",
    "predicate": "internal",
    "quota": "internal",
    "key_backend": "key.backend_fault",
    "publisher": "transparency.unavailable",
    "hook": "internal",
}
"""What a defect of a provider of each kind means to the caller: always a fault, so that it fails closed."""

PROVIDER_SECONDS: Final = 10.0
"""How long an awaited provider may take: a registry or a licensing service that needs longer is down for a
caller."""

_TOLD_MAX: Final = 300

T = TypeVar("T")


def told(exc: BaseException) -> str:
    """Say in one printable line, at most 300 characters, what ``exc`` is: for the operator, never for a peer.

    A ``__str__`` that fails is left out; control characters, which could forge a log line, are escaped.
    """
    try:
        text = str(exc)
    except Exception:  # noqa: BLE001  # a plugin's __str__ is foreign code too
        text = ""
    line = f"{type(exc).__name__}: {text}" if text else type(exc).__name__
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line[:_TOLD_MAX])


class Guard:
    """Calls the methods of one provider, named ``kind(name)`` in the operator's text.

    ``seconds`` bounds each result that has to be awaited.
    """

    __slots__ = ("code", "kind", "name", "seconds")

    def __init__(self, kind: Kind, name: str, *, seconds: float = PROVIDER_SECONDS) -> None:
        self.kind = kind
        self.name = name
        self.seconds = seconds
        self.code = CODE_OF_KIND[kind]

    @overload
    def __call__(
        self, method: Callable[..., object], expected: type[T], *args: object
    ) -> T | Awaitable[object]: ...
    @overload
    def __call__(
        self, method: Callable[..., object], expected: tuple[type, ...], *args: object
    ) -> object: ...
    def __call__(
        self, method: Callable[..., object], expected: type | tuple[type, ...], *args: object
    ) -> object:
        """Call ``method(*args)``; the result is of ``expected``, or an awaitable to be given to
        :meth:`awaited`.

        Raises what the provider refused with, else PluginError with reason ``plugin_failed`` or
        ``plugin_type``.
        """
        try:
            result = method(*args)
        except SignerdError:
            raise
        except (Exception, SystemExit) as exc:  # the boundary: foreign code may raise anything
            raise self._error("plugin_failed", told(exc)) from exc
        if isinstance(result, expected) or inspect.isawaitable(result):
            return result
        raise self._wrong_type(result, expected)

    def now(self, method: Callable[..., object], expected: type[T], *args: object) -> T:
        """Call ``method(*args)`` where the contract knows no awaitable; otherwise as calling the guard."""
        result = self(method, expected, *args)
        if isinstance(result, expected):
            return result
        if inspect.iscoroutine(result):
            result.close()
        raise self._wrong_type(result, expected)

    async def awaited(self, awaitable: Awaitable[object], expected: type | tuple[type, ...]) -> object:
        """Await what a provider promised, in a trio task; at most ``seconds`` long.

        Raises as calling the guard does, and PluginError with reason ``plugin_deadline`` once the time is
        over, also where the provider swallowed its cancellation. A cancel from outside passes through.
        """
        import trio

        with trio.move_on_after(self.seconds) as scope:
            try:
                result = await awaitable
            except SignerdError:
                raise
            except (Exception, SystemExit) as exc:  # the boundary
                raise self._error("plugin_failed", told(exc)) from exc
            if not scope.cancel_called:
                if isinstance(result, expected):
                    return result
                raise self._wrong_type(result, expected)
        raise self._error("plugin_deadline", f"no answer within {self.seconds:g} s")

    def broken(self, said: str) -> PluginError:
        """Return the error, with reason ``plugin_answer``, of an answer that is of its type and not as the contract
        says: ``said``."""
        return self._error("plugin_answer", said)

    def _error(self, reason: str, operator: str) -> PluginError:
        return PluginError(self.code, reason, plugin=f"{self.kind}({self.name})", operator=operator)

    def _wrong_type(self, result: object, expected: type | tuple[type, ...]) -> PluginError:
        names = " or ".join(t.__name__ for t in (expected if isinstance(expected, tuple) else (expected,)))
        return self._error("plugin_type", f"returned {type(result).__name__} where the contract says {names}")
