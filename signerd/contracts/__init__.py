"""All that a plugin may import beside errors, attestation and verification.

Read :mod:`signerd.contracts.hookspecs` (how a plugin introduces itself), then
:mod:`signerd.contracts.providers` (what it must be able to do).
"""

from signerd.contracts.hookspecs import hookimpl

__all__ = ["hookimpl"]
