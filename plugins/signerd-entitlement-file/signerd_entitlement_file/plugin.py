"""Entry point: the entitlement source over the configuration or a local file.

Settings: ``file`` (absolute path of a TOML file as :mod:`signerd_entitlement_file.plans` describes, read
again when it changes), or the same tables ``plans`` and ``tenants`` inline. With none of them, tenant
``local`` has plan ``embedded``.
"""

import os
import stat
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from signerd.contracts import hookimpl
from signerd.contracts.hookspecs import Settings
from signerd.contracts.values import Entitlement, Principal, ProofOfEntitlement
from signerd.errors import Fault, Refusal
from signerd_entitlement_file.plans import EMBEDDED, Plans, read_plans

__all__ = ["LocalPlans", "signerd_entitlements"]

NAME: Final = "entitlement-file"
_LOOK_AGAIN_S: Final = 1.0
"""A change counts at most so much later: asking the file system at every request costs as much as the whole
stage.
"""


class _File:
    """Plans in a file; while it cannot be used nobody is entitled, whatever it said before."""

    def __init__(self, path: Path, monotonic: Callable[[], float]) -> None:
        self._path = path
        self._monotonic = monotonic
        self._seen = (-1, -1, -1)
        self._plans: Plans = {}
        self._read()
        self._look_at = monotonic() + _LOOK_AGAIN_S

    def __call__(self) -> Plans:
        if self._monotonic() >= self._look_at:
            try:
                self._read()
            except ValueError as exc:
                raise Fault(
                    "entitlement.unavailable",
                    "file_unusable",
                    "the plans cannot be used now",
                    operator=str(exc),
                ) from exc
            self._look_at = self._monotonic() + _LOOK_AGAIN_S
        return self._plans

    def _read(self) -> None:
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if not stat.S_ISREG(found.st_mode) or found.st_mode & stat.S_IWOTH:
                raise ValueError("expected a regular file that not everybody may write")
            if seen == self._seen:
                return
            plans = read_plans(tomllib.loads(self._path.read_text("utf-8")))
        except (OSError, ValueError, RecursionError) as exc:
            raise ValueError(f"{self._path}: {exc}") from exc
        self._plans, self._seen = plans, seen


class LocalPlans:
    """EntitlementSource: a tenant has the plan that the operator wrote down for it."""

    def __init__(self, plans: Callable[[], Plans], now: Callable[[], float] = time.time) -> None:
        """Look tenants up in what ``plans`` returns at each call; ``now`` is wall time in Unix seconds."""
        self._plans = plans
        self._now = now
        self._own = f"uid:{os.geteuid()}"

    def entitle(self, principal: Principal, proof: ProofOfEntitlement) -> Entitlement:
        """Return the tenant's plan.

        Refuses ``entitlement.denied`` (``tenant_unknown``; ``proof_unsupported`` for a licence that this
        source cannot judge; ``own_user_only`` for plan ``embedded`` and a principal other than the daemon's
        own ``uid:N``), ``entitlement.expired`` (``expired``) and, while the file cannot be used,
        ``entitlement.unavailable``.
        """
        if proof.format != "none":
            raise Refusal(
                "entitlement.denied", "proof_unsupported", "this signer takes no proof of entitlement"
            )
        plan = self._plans().get(principal.tenant)
        if plan is None:
            raise Refusal("entitlement.denied", "tenant_unknown", "the tenant has no plan")
        if plan.expires_at is not None and self._now() * 1000 >= plan.expires_at:
            raise Refusal("entitlement.expired", "expired", "the tenant's plan has expired")
        if plan.plan == EMBEDDED and principal.name != self._own:
            raise Refusal(
                "entitlement.denied", "own_user_only", "the plan is for the signer's own user alone"
            )
        return Entitlement(plan.plan, plan.limits, NAME, plan.window)


@hookimpl
def signerd_entitlements(settings: Settings) -> LocalPlans:
    """Return the source; ValueError for settings or a file that are not as this module says."""
    if "file" not in settings:
        plans = read_plans(settings or {"tenants": {"local": {"plan": EMBEDDED}}})
        return LocalPlans(lambda: plans)
    file = settings["file"]
    if len(settings) > 1:
        raise ValueError("expected file alone, or plans and tenants")
    if not isinstance(file, str) or not file.startswith("/"):
        raise ValueError("file: expected an absolute path")
    return LocalPlans(_File(Path(file), time.monotonic))
