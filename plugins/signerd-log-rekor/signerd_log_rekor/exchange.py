"""What the log is asked, and the one fault of what it does not answer."""

from typing import Final

from signerd.errors import Fault
from signerd.network.exchange import Answer, Exchange, Unanswered

__all__ = ["ask", "unavailable"]

_KIND: Final = (("accept", "*/*"), ("content-type", "application/json"))


def unavailable(reason: str, operator: str) -> Fault:
    """Return the one fault of a publisher."""
    return Fault("transparency.unavailable", reason, "a proof of publication cannot be had", operator=operator)


async def ask(exchange: Exchange, method: str, url: str, most: int, body: bytes | None = None) -> Answer:
    """Return the answer, of at most ``most`` bytes.

    Raises ``transparency.unavailable``: ``unreachable``, ``answer_too_large``.
    """
    try:
        return await exchange(method, url, most, body, _KIND if body is not None else _KIND[:1])
    except Unanswered as exc:
        reason = "answer_too_large" if exc.reason == "too_large" else "unreachable"
        raise unavailable(reason, str(exc)) from exc
