"""A sealer whose key needs somebody's presence, stepped by hand: the touch comes when a test makes it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import msgspec
from msgspec import structs

from fakes.credential import ORIGIN, RP_ID, SoftCredential
from fakes.sealing import NOW, TENANT, Bench, SoftKey
from signerd.sealer.backends import Backend
from signerd.sealer.group import OUTCOME_S
from signerd.sealer.job import Pinned
from signerd.sealer.presence import Presence
from signerd.sealer.seal import Sealing
from signerd.sealer.worker_call import Call
from signerd.verification.fido2 import Credential
from signerd.verification.keys import PublicKey
from signerd.wire.links import KeyUse, SealOutcome
from signerd.wire.ring import RingEntry
from signerd.wire.worker_calls import CallError, SignParams, SignResultParams

__all__ = ["ALICE", "SECONDS", "HandTouch", "PresenceBench"]

ALICE = "fido2:alice"
SECONDS = 60.0


class HandTouch:
    """The worker of the authenticators: holds each call until somebody touches. ``keys`` are by reference."""

    def __init__(self, **keys: SoftCredential) -> None:
        self.keys = {f"fido2:{name}": key for name, key in keys.items()}
        self.calls: list[Call] = []
        self.condemned: list[str] = []
        self.up = True

    def call_many(self, calls: list[Call]) -> None:
        for call in calls:
            if self.up:
                self.calls.append(call)
            else:
                call.done(CallError("key.backend_unavailable", "worker_down", "down"))

    def flush(self) -> None:
        pass

    def condemn(self, why: str) -> None:
        self.condemned.append(why)

    @property
    def asked(self) -> list[tuple[str, bytes]]:
        """What waits for a touch: the reference, and the digest to sign."""
        params = [cast("SignParams", call.params) for call in self.calls]
        return [(each.key, cast("bytes", each.message)) for each in params]

    def answer(self, make: Callable[[SoftCredential, bytes], bytes] = SoftCredential.touch, keyid: str = "") -> None:
        """Touch the oldest that waits."""
        call = self.calls.pop(0)
        params = cast("SignParams", call.params)
        key = self.keys[params.key]
        self.say(call, SignResultParams(make(key, cast("bytes", params.message)), keyid or key.keyid))

    def fail(self, code: str, reason: str) -> None:
        self.calls.pop(0).done(CallError(code, reason, "no"))

    @staticmethod
    def say(call: Call, result: object) -> None:
        call.done(msgspec.Raw(msgspec.msgpack.encode(result)))


def pinned(reference: str, key: SoftCredential, tenant: str = TENANT, user_verification: bool = False) -> Pinned:
    """The credential as the ring pins it."""
    entry = RingEntry(reference, tenant, 1, key.keyid, "FIDO2-ES256", key.spki, "fido2", "active", NOW - 1000)
    credential = Credential(key.spki, RP_ID, ORIGIN, user_verification)
    return Pinned(entry, PublicKey.from_spki(key.spki), "touch", True, credential=credential)


class PresenceBench(Bench):
    """A bench whose keys need the presence of ``approvers`` in turn: the first key of the first one, and so on."""

    def __init__(self, *keys: SoftKey, store: Any = None, alice: SoftCredential | None = None) -> None:
        super().__init__(*(keys or (SoftKey("file:release"),)), store=store)
        self.alice = alice or SoftCredential()
        self.touch = HandTouch(alice=self.alice, bob=SoftCredential())
        self.approvers = {name: pinned(name, key) for name, key in self.touch.keys.items()}
        for name in self.approvers:
            self.ring[self.approvers[name].entry.keyid] = self.approvers[name]
        for key in self.keys:
            self.need(key, ALICE)
        self.restart()

    def need(self, key: SoftKey, approver: str, seconds: float = SECONDS) -> None:
        """Have ``key`` need the presence of ``approver``; empty: nobody's."""
        self.ring[key.entry.keyid] = replace(key.pinned(), presence=approver, presence_s=seconds)

    def change(self, approver: str, **fields: Any) -> None:
        """Change the entry of a credential in the ring."""
        old = self.approvers[approver]
        new = replace(old, entry=structs.replace(old.entry, **fields))
        self.approvers[approver] = self.ring[new.entry.keyid] = new

    def restart(self) -> None:
        """A new sealer on the same log, with the same workers."""
        backends = cast("dict[str, Backend]", {"soft": self.backend, "touch": self.touch})
        self.touch.calls = []
        self.presence = Presence(self.store, self.ring, self.approvers.get, backends, self.clock)
        self.sealing = Sealing(
            self.store, self.ring, backends, self.clock, self.aside, presence=self.presence
        )

    def turn(self) -> None:
        """One turn, and the one that is due when outcomes have waited for company; the touch is not waited for."""
        self.sealing.turn()
        look = self.sealing.next_look()
        if look is not None and look - self.clock.monotonic() <= OUTCOME_S:
            self.clock.move(max(0.0, look - self.clock.monotonic()))
            self.sealing.turn()

    def asked_by(self, key: SoftKey, principal: str = "uid:1000") -> dict[str, Any]:
        """The fields of an item by which a caller of the key's tenant asks for that key alone."""
        entry, item = key.entry, self.item()
        use = KeyUse(entry.key, "tenant_default", entry.keyid, entry.version)
        decision = structs.replace(item.decision, principal=principal, tenant=entry.tenant, keys=(use,))
        return {
            "decision": decision,
            "request": structs.replace(item.request, tenant=entry.tenant, principal=principal),
        }

    def ask(self, payload: bytes = b"{}", **changes: Any) -> SealOutcome:
        """Ask once and return the answer, or fail: what needs a touch, or is refused, is answered at once."""
        audit_id = self.admit(payload, **changes)
        self.turn()
        return self.outcomes()[audit_id]

    def approval(self, payload: bytes = b"{}", **changes: Any) -> str:
        """Ask, and return the id of the approval that is waited for."""
        outcome = self.ask(payload, **changes)
        assert outcome.error is not None
        assert (outcome.error.code, outcome.error.reason) == ("key.presence_required", "touch")
        return str(outcome.details["approval_id"])

    def signed(self, payload: bytes = b"{}", **changes: Any) -> SealOutcome:
        """Ask under an approval that was given, and return what was signed."""
        audit_id = self.admit(payload, **changes)
        self.turn()
        self.backend.answer()
        self.turn()
        return self.outcomes()[audit_id]

    def refused(self, payload: bytes = b"{}", **changes: Any) -> tuple[str, str]:
        """Ask, and return code and reason of the refusal."""
        outcome = self.ask(payload, **changes)
        assert outcome.error is not None
        return outcome.error.code, outcome.error.reason
