"""What goes wrong here, as a code of a key backend."""

from signerd.errors import Fault

__all__ = ["unavailable"]


def unavailable(reason: str, operator: str) -> Fault:
    """Build the fault of what has to be installed before anything can be signed."""
    return Fault("key.backend_unavailable", reason, "the key's backend is not available", operator=operator)
