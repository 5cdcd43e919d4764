import inspect
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from fakes.sealer_end import SealerEnd
from fakes.services import NOON, PEER, PRINCIPAL, FakeClock, HeldKey, Later, World, world
from signerd.contracts.values import Entitlement, PlanLimits, Principal
from signerd.daemon.macs import MACS
from signerd.daemon.reads import NEVER, Reads
from signerd.daemon.session import Session
from signerd.daemon.snapshot import Snapshot
from signerd.daemon.verifying import Verifying
from signerd.errors import Fault, SignerdError
from signerd.host.clock import boot_id
from signerd.pipeline.entitle import BYPASS_LIMITS
from signerd.pipeline.tenants import KeyRule, Tenant
from signerd.wire import methods
from signerd.wire.backends import BackendChanged, BackendState
from signerd.wire.links import Opened
from signerd.wire.messages import Limits
from signerd.wire.ring import Grant
from signerd.wire.worker_calls import CallError

LIMITS = Limits(4 << 20, 1 << 20, 1 << 27, 64, 256, 1024, 32, 64, 120_000)
NO_WORKER = cast("Verifying", None)  # no test here asks for what a worker does
BOUND = cast("Session", SimpleNamespace(principal=PRINCIPAL, peer=PEER, via="sign"))
NO_TENANT = Principal("uid:7", "", frozenset(), "x")
ADMIN = cast("Session", SimpleNamespace(principal=NO_TENANT, peer=PEER, via="admin"))
UNBOUND = cast("Session", SimpleNamespace(principal=None, peer=PEER, via="sign"))


class Desk:
    def __init__(self, given: World | None = None) -> None:
        self.clock = FakeClock()
        self.given = given or world()
        self.snapshot = Snapshot()
        self.sealer = SealerEnd(self.given, self.clock)
        (opened,) = self.sealer.news
        assert isinstance(opened, Opened)
        self.snapshot.opened(opened)
        plugins = (methods.PluginInfo("signerd-x", "1.0", "ab"),)
        self.reads = Reads(
            self.given.services, self.snapshot, self.sealer.link, LIMITS, self.clock, plugins, False, 900.0, NO_WORKER
        )

    def ask(self, method: str, session: Session = BOUND, **params: Any) -> Any:
        decoded = methods.decode_params(method, msgspec.Raw(msgspec.msgpack.encode(params)))
        return self.reads.handlers[method](session, decoded)

    def refused(self, method: str, session: Session = BOUND, **params: Any) -> str:
        with pytest.raises(SignerdError) as caught:
            self.ask(method, session, **params)
        return f"{caught.value.code}/{caught.value.reason}"


@pytest.fixture
def desk(request: pytest.FixtureRequest) -> Any:
    made = Desk()
    yield made
    made.sealer.close()


def test_binding_by_peer_credentials_answers_with_what_is_bound(desk: Desk) -> None:
    bound = desk.ask("session.bind")
    assert (bound.principal, bound.tenant) == ("uid:1000", "acme")
    assert (bound.peer.uid, bound.peer.pid) == (PEER.uid, PEER.pid)
    assert bound.expires_at == NEVER
    assert bound.limits == LIMITS
    assert len(bound.nonce) == 16
    assert bound.nonce != desk.ask("session.bind", tenant="acme").nonce
    status = desk.ask("session.status")
    assert (status.principal, status.scopes) == (bound.principal, bound.scopes)


def test_what_binding_does_not_take(desk: Desk) -> None:
    assert desk.refused("session.bind", token="a.b.c") == "request.unsupported/not_served"
    assert desk.refused("session.bind", proof="a.b.c") == "request.unsupported/not_served"
    assert desk.refused("session.bind", tenant="other") == "auth.tenant_mismatch/other_tenant"
    for method in ("session.bind", "session.status", "keys.list", "entitlement.status"):
        assert desk.refused(method, UNBOUND) == "auth.required/not_bound"


def test_keys_are_the_tenants_own() -> None:
    other = HeldKey.make("file:other", "other")
    desk = Desk(world(keys=[HeldKey.make("file:acme"), other]))
    assert [key.key for key in desk.ask("keys.list").keys] == ["file:acme"]
    assert desk.refused("keys.describe", key="file:other") == "key.not_found/no_such_key"
    assert desk.refused("keys.describe", key=other.entry.keyid) == "key.not_found/no_such_key"
    desk.sealer.close()


def test_a_version_that_no_leaf_backs_is_not_told() -> None:
    planted = HeldKey.make("file:planted", status="unlogged", spki=b"")
    desk = Desk(world(keys=[HeldKey.make("file:acme"), planted]))
    assert [key.key for key in desk.ask("keys.list").keys] == ["file:acme"]
    for name in ("file:planted", planted.entry.keyid):
        assert desk.refused("keys.describe", key=name) == "key.backend_fault/ring_unlogged"
    desk.sealer.close()


def test_a_key_by_reference_and_by_keyid(desk: Desk) -> None:
    by_reference = desk.ask("keys.describe", key="file:acme")
    assert by_reference == desk.ask("keys.describe", key=by_reference.keyid)
    assert by_reference.algorithm == "ES256"
    assert by_reference.public_key_pem.startswith("-----BEGIN PUBLIC KEY-----")
    assert "--insecure-ignore-tlog" in by_reference.verify_command[0].argv


@pytest.mark.parametrize(
    ("kind", "keyless", "uses"),
    [
        ("ES256", False, ("dsse", "cose")),
        ("Ed25519", False, ("dsse", "cose")),
        ("RSA-PKCS1-SHA256", False, ("dsse",)),
        ("ES256", True, ("dsse",)),
    ],
)
def test_what_a_key_may_sign(kind: str, keyless: bool, uses: tuple[str, ...]) -> None:
    changes: dict[str, Any] = {"keyid": "", "spki": b"", "version": 0} if keyless else {}
    desk = Desk(world(keys=[HeldKey.make("file:acme", kind=kind, **changes)]))
    assert desk.ask("keys.describe", key="file:acme").uses == uses
    desk.sealer.close()


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "active"),
        ({"status": "suspended"}, "suspended"),
        ({"status": "revoked", "revoked_at": NOON - 1}, "revoked"),
        ({"expires_at": NOON - 1}, "expired"),
        ({"added_at": NOON + 10_000_000}, "pending"),
    ],
)
def test_the_status_is_the_one_by_the_clock(changes: dict[str, Any], status: str) -> None:
    desk = Desk(world(keys=[HeldKey.make("file:acme", **changes)]))
    (summary,) = desk.ask("keys.list").keys
    assert summary.status == status
    assert desk.ask("keys.describe", key="file:acme").status == status
    desk.sealer.close()


def test_a_credential_and_the_key_that_it_approves_say_so() -> None:
    credential = HeldKey.make("fido2:alice", algorithm="FIDO2-ES256")
    rules = {"file:acme": KeyRule(presence="fido2:alice"), "fido2:alice": KeyRule(approves=True)}
    tenant = Tenant("acme", "file:acme", rules=rules)
    desk = Desk(world(tenants=[tenant], keys=[HeldKey.make("file:acme"), credential]))
    told = desk.ask("keys.describe", key="fido2:alice")
    assert (told.algorithm, told.uses, told.verify_command) == ("FIDO2-ES256", ("approval",), ())
    assert told.presence is msgspec.UNSET
    approved = desk.ask("keys.describe", key="file:acme")
    assert "approval" not in approved.uses
    assert approved.presence == "fido2:alice"
    desk.sealer.close()


def test_the_plan_and_what_is_left_of_it() -> None:
    plan = Entitlement("gold", PlanLimits(concurrency=4, size=1, rate=10.0, burst=5, daily=100), "fake")
    desk = Desk(world(plan=plan))
    status = desk.ask("entitlement.status")
    assert status.plan == "gold"
    assert (status.remaining.daily, status.remaining.concurrency) == (100, 4)
    assert status == desk.ask("quota.status")
    assert status.reset_at == (NOON // 86_400_000 + 1) * 86_400_000
    desk.sealer.close()


def test_under_a_bypass_the_plan_is_the_one_that_signs() -> None:
    exceptions = Snapshot()
    desk = Desk(world(plan=Fault("entitlement.unavailable", "down", "down"), exceptions=exceptions))
    assert desk.refused("entitlement.status") == "entitlement.unavailable/down"
    far = desk.given.services.clock.now_ms() + 1000
    exceptions.grants = (Grant("1", "bypass", "gold", far, "acme", boot=boot_id(), until_ms=2**60),)
    status = desk.ask("entitlement.status")
    assert (status.plan, status.remaining.concurrency) == ("gold", BYPASS_LIMITS.concurrency)
    desk.sealer.close()


def test_a_plan_that_must_be_fetched_is_not_waited_for() -> None:
    desk = Desk(world(plan=Later(Entitlement("gold", PlanLimits(concurrency=4, size=1), "fake"))))
    assert desk.refused("entitlement.status") == "entitlement.unavailable/not_cached"
    desk.sealer.close()


def test_a_source_that_never_answers_at_once_leaves_nothing_unawaited() -> None:
    async def fetch() -> Entitlement:
        raise AssertionError("not awaited here")

    promised = fetch()
    desk = Desk(world(plan=promised))
    assert desk.refused("entitlement.status") == "entitlement.unavailable/not_cached"
    assert inspect.getcoroutinestate(promised) == inspect.CORO_CLOSED
    desk.sealer.close()


def test_why_a_key_was_never_known_is_told_to_its_tenant_alone() -> None:
    tenants = tuple(Tenant(name, f"file:{name}", rules={f"file:{name}": KeyRule()}) for name in ("acme", "other"))
    desk = Desk(world(tenants=tenants, keys=[]))
    away = CallError("key.backend_unavailable", "token_absent", "the key's backend is not available")
    desk.snapshot.absent = {"file:acme": away, "file:other": away}
    assert desk.refused("keys.describe", key="file:acme") == "key.backend_unavailable/token_absent"
    assert desk.refused("keys.describe", key="file:other") == "key.not_found/no_such_key"
    desk.sealer.close()


def test_info_and_health(desk: Desk) -> None:
    info = desk.ask("daemon.info")
    assert info.uptime_s == 100
    assert [plugin.name for plugin in info.plugins] == ["signerd-x"]
    assert (info.profiles, info.checkpoints) == (("cosign", "dsse", "cose"), "off")
    health = desk.ask("daemon.health", UNBOUND)
    assert health.ready
    assert all(check.ok for check in health.checks)


def test_backends_are_the_tenants_own_but_on_the_admin_socket() -> None:
    desk = Desk(world(tenants=[Tenant("acme", "file:acme", backends=frozenset({"soft", "not yet there"}))]))
    desk.snapshot.take_backend(BackendChanged(BackendState("theirs", "file", up=True)))

    def told(method: str, session: Session = BOUND) -> list[tuple[str, bool]]:
        return [(backend.name, backend.up) for backend in desk.ask(method, session).backends]

    assert told("session.bind") == told("session.status") == told("daemon.info") == [("soft", True)]
    assert told("daemon.info", ADMIN) == [("soft", True), ("theirs", True)]
    nobodys = cast("Session", SimpleNamespace(principal=NO_TENANT, peer=PEER, via="sign"))
    assert told("daemon.info", nobodys) == []
    desk.sealer.close()


def test_not_ready_without_a_backend_or_without_the_record(desk: Desk) -> None:
    desk.snapshot.take_backend(BackendChanged(BackendState("soft", "file", up=False)))
    assert not desk.ask("daemon.health").ready
    desk.snapshot.take_backend(BackendChanged(BackendState("soft", "file", up=True)))
    assert desk.ask("daemon.health").ready
    desk.sealer.link.lost()
    health = desk.ask("daemon.health")
    assert not health.ready
    assert {check.name: check.ok for check in health.checks} == {"audit": False, "backends": False}


def test_every_method_that_is_served_has_its_handler(desk: Desk) -> None:
    elsewhere = {"sign.dsse", "sign.payload", "sign.batch", "verify.bundle", "verify.batch", "audit.query", *MACS}
    elsewhere |= {"transparency.entry"}
    assert set(desk.reads.handlers) == set(methods.METHODS) - elsewhere - methods.ADMIN_RELAYED
