"""The exceptions that admins make for a while: a bypass of the entitlement source, an approval of a tool's release.

The audit log is where they are kept: an exception is in force because its leaf is durable, and for no other reason, so
that no file beside the log can grant one (T8). What has ended is not looked for again.
"""

import os
from typing import Final, Literal

from msgspec.structs import replace

from signerd.contracts.services import AuditStore, Clock
from signerd.contracts.validity import in_force
from signerd.errors import Refusal
from signerd.host.clock import boot_id
from signerd.sealer.admin_leaves import AdminFacts, admin_facts, admin_leaf
from signerd.wire.admin import BYPASS_MOST_MS, RELEASE_MOST_MS
from signerd.wire.ring import Grant

__all__ = ["MOST_GRANTS", "Grants"]

MOST_GRANTS: Final = 256
"""In force at the same time: whoever needs more needs another policy. They go to the front end in one frame."""
_MOST_MS: Final = {"bypass": BYPASS_MOST_MS, "release": RELEASE_MOST_MS}


class Grants:
    """What is in force. ``changed`` is true after a change until :meth:`snapshot` was taken."""

    def __init__(self, audit: AuditStore, clock: Clock) -> None:
        """Read them from the log; ``audit.unavailable`` where it cannot be read."""
        self._audit = audit
        self._clock = clock
        self._boot = boot_id()
        found = [admin_facts(text).grant for text in audit.admin_leaves()]
        self._grants = [grant for grant in found if grant is not None]
        self.changed = False

    def snapshot(self) -> tuple[Grant, ...]:
        """Return what is in force now."""
        self.changed = False
        self._drop_ended()
        return tuple(self._grants)

    def check(self, kind: Literal["bypass", "release"], expires_at: int) -> None:
        """Refuse (``request.malformed``) an end that has passed (``expires_at``) or is too far off (``over_cap``), and
        (``request.conflict``, ``too_many``) a grant beyond :data:`MOST_GRANTS`."""
        left = expires_at - self._clock.now_ms()
        if left <= 0:
            raise Refusal("request.malformed", "expires_at", "it would have ended already")
        if left > _MOST_MS[kind]:
            most = _MOST_MS[kind] // 3_600_000
            raise Refusal("request.malformed", "over_cap", f"it may last at most {most} hours", details={"hours": most})
        self._drop_ended()
        if len(self._grants) >= MOST_GRANTS:
            raise Refusal("request.conflict", "too_many", "too many exceptions are in force")

    def bypass(self, tenant: str, plan: str, expires_at: int, act: AdminFacts) -> Grant:
        """Let ``tenant`` sign under ``plan`` until then, whatever its entitlement source says. It ends by the monotonic
        clock too, so that a wall clock set back prolongs nothing, and with the boot.

        Refuses as :meth:`check` does; ``audit.unavailable``, and nothing is granted then. ``act`` is recorded with it.
        """
        self.check("bypass", expires_at)
        until_ms = int(self._clock.monotonic() * 1000) + expires_at - self._clock.now_ms()
        made = Grant(_new_id(), "bypass", plan, expires_at, tenant, boot=self._boot, until_ms=until_ms)
        return self._add(made, act)

    def release(self, digest: str, tenant: str, version: str, expires_at: int, act: AdminFacts) -> Grant:
        """Let ``digest`` count as a release until then, for ``tenant`` or (empty) for all. Raises as :meth:`bypass`."""
        self.check("release", expires_at)
        return self._add(Grant(_new_id(), "release", digest, expires_at, tenant, version), act)

    def _add(self, made: Grant, act: AdminFacts) -> Grant:
        self._audit.append_many([admin_leaf(replace(act, grant=made), self._clock.now_ms())])
        self._grants.append(made)
        self.changed = True
        return made

    def _drop_ended(self) -> None:
        now, monotonic = self._clock.now_ms(), self._clock.monotonic()
        self._grants = [grant for grant in self._grants if in_force(grant, now, monotonic, self._boot)]


def _new_id() -> str:
    return os.urandom(8).hex()
