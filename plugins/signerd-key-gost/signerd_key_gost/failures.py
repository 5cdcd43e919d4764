"""What goes wrong here, as the codes of a key backend."""

from signerd.errors import Fault, Refusal

__all__ = ["fault", "not_found", "unavailable"]


def fault(reason: str, operator: str) -> Fault:
    """Build the fault of a backend that cannot use what it found; the operator's text alone names it."""
    return Fault("key.backend_fault", reason, "a component of the signer failed", operator=operator)


def not_found(reason: str, operator: str) -> Refusal:
    """Build the refusal of a reference that leads to no key."""
    return Refusal("key.not_found", reason, "there is no such key", operator=operator)


def unavailable(reason: str, operator: str) -> Fault:
    """Build the fault of what has to be installed before anything can be signed."""
    return Fault("key.backend_unavailable", reason, "the key's backend is not available", operator=operator)
