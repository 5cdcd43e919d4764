"""T14: a tenant names, uses, lists or infers another tenant's key or records.

The whole matrix: every method of the sign socket, by callers of every tenant, for every version of every key of every
tenant and each name that it has. What is another tenant's is answered as what never was, byte for byte; no answer
holds a byte of another tenant's names, keys and records (``Tenants.caller`` looks at each).
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import msgspec
import pytest

from fakes.front_end import SealerProcess, leaves_of
from running.client import Client
from running.tenants import LIVES, TENANTS, WAYS, Caller, Tenants, configured, lived, order, tenants
from signerd.host.config import load
from signerd.wire.links import KeyUse, SealMany
from signerd.wire.methods import METHODS, SERVED
from signerd.wire.ring import RingEntry

NOBODY = ("file:nobody", "sha256:" + "0" * 64, "0" * 64, "file:nobody-v2")
NOT_FOUND = "key.not_found no_such_key"


def bare(asked: dict[str, Any]) -> dict[str, Any]:
    """The same request for a bare document: keys are looked at before content."""
    kept = {name: value for name, value in asked.items() if not name.startswith("predicate")}
    return {**kept, "payload_type": "application/vnd.stellaops.replay+json", "payload": b"{}"}


ASKED: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "sign.dsse": order,
    "sign.batch": lambda tenant, name: {"items": [order(tenant, name)]},
    "sign.payload": lambda tenant, name: bare(order(tenant, name)),
    "hmac.compute": lambda tenant, name: {"purpose": "signing", "key": name, "data": b"x"},
    "hmac.verify": lambda tenant, name: {"purpose": "signing", "key": name, "data": b"x", "mac": bytes(32)},
    "keys.describe": lambda tenant, name: {"key": name},
    "audit.query": lambda tenant, name: {"filters": {"audit_id": name}, "limit": 200},
    "transparency.entry": lambda tenant, name: {"audit_id": name},
    "verify.bundle": lambda tenant, name: {"bundle": b"{}", "policy": name},
    "verify.batch": lambda tenant, name: {"items": [{"bundle": b"{}", "policy": name}]},
    "session.bind": lambda tenant, name: {"tenant": name},
    "session.status": lambda tenant, name: {"key": name},
    "entitlement.status": lambda tenant, name: {"key": name},
    "quota.status": lambda tenant, name: {"key": name},
    "keys.list": lambda tenant, name: {"key": name},
    "daemon.info": lambda tenant, name: {"key": name},
    "daemon.health": lambda tenant, name: {"key": name},
}
"""How a method is asked about something of that name, by a caller of that tenant."""

UNKNOWN = {
    "audit.query": "",
    "session.bind": "auth.tenant_mismatch other_tenant",
    "transparency.entry": "request.malformed no_entry",
    **dict.fromkeys(
        ("sign.dsse", "sign.batch", "sign.payload", "hmac.compute", "hmac.verify", "keys.describe"), NOT_FOUND
    ),
    **dict.fromkeys(("verify.bundle", "verify.batch"), "request.malformed policy_unknown"),
}
"""What it says of what is not there, where that is not that it takes no such name at all; empty: finds nothing."""

SIGNS = {
    "active": "",
    "granted": "",
    "planned": "key.forbidden other_plan",
    "suspended": "key.suspended suspended",
    "revoked": "key.revoked revoked",
    "retired": "key.expired retired",
    "rotated": "",
    "replaced": "",
    "expired": "key.expired expired",
    "pending": "key.not_yet_valid not_yet_valid",
}
"""What becomes of the owner's request under the reference; empty: it is signed."""


@pytest.fixture(scope="module", params=WAYS)
def three(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    with tenants(tmp_path_factory.mktemp("tenants"), request.param) as made:
        yield made


def names(entry: RingEntry) -> list[str]:
    """All by which somebody could try to name a version."""
    return list(dict.fromkeys([entry.key, entry.keyid, entry.keyid.removeprefix("sha256:"), entry.name]))


def told(answer: dict[str, Any]) -> str:
    """Code and reason of an answer, or of the one item of a batch; empty for a result."""
    if answer["type"] == "response" and "outcomes" in answer["result"]:
        (answer,) = answer["result"]["outcomes"]
        answer = answer.get("error", {"type": "response"})
    return f"{answer['code']} {answer['details']['reason']}" if "code" in answer else ""


def plain(answer: dict[str, Any]) -> bytes:
    """An answer's bytes without what no two answers share."""
    return bytes(msgpack.packb({name: value for name, value in answer.items() if name not in ("id", "nonce")}))


def life(entry: RingEntry) -> str:
    return entry.key.rpartition("-")[2]


def test_every_method_and_every_life_has_its_place() -> None:
    assert sorted(ASKED) == sorted(SERVED["sign"])
    assert sorted(SIGNS) == sorted(LIVES)


@pytest.mark.parametrize("method", ASKED)
@pytest.mark.parametrize("tenant", TENANTS)
def test_another_tenants_key_is_as_one_that_never_was(three: Tenants, tenant: str, method: str) -> None:
    with three.caller(tenant) as caller:
        never = {plain(caller.call(method, ASKED[method](tenant, name))) for name in NOBODY}
        assert len(never) == 1
        (unknown,) = {told(caller.call(method, ASKED[method](tenant, name))) for name in NOBODY}
        expected = UNKNOWN.get(method)
        assert unknown == expected or (expected is None and unknown.startswith("request.unsupported "))
        others = [entry for entry in three.versions if entry.tenant != tenant]
        assert len(others) == 2 * (len(LIVES) + 2)
        for entry in others:
            for name in (*names(entry), entry.tenant):
                assert {plain(caller.call(method, ASKED[method](tenant, name)))} == never, (method, name)


@pytest.mark.parametrize("method", ["sign.dsse", "sign.batch"])
@pytest.mark.parametrize("tenant", TENANTS)
def test_the_own_key_signs_as_its_life_allows(three: Tenants, tenant: str, method: str) -> None:
    with three.caller(tenant) as caller:
        for entry in own(three, tenant):
            reference, *rest = names(entry)
            answer = caller.call(method, ASKED[method](tenant, reference))
            assert told(answer) == SIGNS[life(entry)]
            if answer["type"] == "response" and not told(answer):
                result = answer["result"]
                result = result["outcomes"][0]["ok"] if "outcomes" in result else result
                (identity,) = result["signing_identity"]
                newest = max(each.version for each in own(three, tenant) if each.key == entry.key)
                assert identity["key_version"] == newest
                assert result["receipt"]["decision"]["tenant"] == tenant
            # `options.keys` holds references: an id or a handle, also of an old version, is none.
            assert {told(caller.call(method, ASKED[method](tenant, name))) for name in rest} == {NOT_FOUND}


@pytest.mark.parametrize("tenant", TENANTS)
def test_the_own_key_is_described_by_reference_and_by_the_id_of_each_version(three: Tenants, tenant: str) -> None:
    with three.caller(tenant) as caller:
        for entry in own(three, tenant):
            described = caller.result("keys.describe", {"key": entry.keyid})
            assert (described["spki"], described["version"]) == (entry.spki, entry.version)
            newest = max(each.version for each in own(three, tenant) if each.key == entry.key)
            assert caller.result("keys.describe", {"key": entry.key})["version"] == newest
            for name in set(names(entry)) - {entry.key, entry.keyid}:
                assert told(caller.call("keys.describe", {"key": name})) == NOT_FOUND


def own(three: Tenants, tenant: str) -> list[RingEntry]:
    return [entry for entry in three.versions if entry.tenant == tenant]


@pytest.mark.parametrize("tenant", TENANTS)
def test_what_is_listed_is_the_tenants_own(three: Tenants, tenant: str) -> None:
    with three.caller(tenant) as caller:
        assert caller.result("session.bind", {"tenant": tenant})["tenant"] == tenant
        listed = {key["keyid"] for key in caller.result("keys.list", {})["keys"]}
        assert listed == {entry.keyid for entry in own(three, tenant)}
        for method in ("session.bind", "session.status", "daemon.info"):
            (backend,) = caller.result(method, {})["backends"]
            assert backend == {"name": f"{tenant}-soft", "up": True}
        for method in ("quota.status", "entitlement.status"):
            assert caller.result(method, {})["plan"] == f"{tenant}-plan"
        assert caller.result("daemon.health", {})["ready"]
        assert caller.result("sign.dsse", order(tenant))["receipt"]["decision"]["plan"] == f"{tenant}-plan"


def pages(caller: Caller, **filters: str) -> list[dict[str, Any]]:
    """All records of a query, a few at a time, so that cursors are used."""
    found: list[dict[str, Any]] = []
    more: dict[str, Any] = {}
    while True:
        page = caller.result("audit.query", {"filters": filters, "limit": 50, **more})
        found += page["records"]
        if "next" not in page:
            return found
        more = {"cursor": page["next"]}


@pytest.mark.parametrize("tenant", TENANTS)
def test_records_are_the_tenants_own_whatever_is_asked_for(three: Tenants, tenant: str) -> None:
    with three.caller(tenant) as caller:
        records = pages(caller)
        leaves = [json.loads(record["leaf"]) for record in records]
        for leaf in leaves:
            assert (leaf.get("tenant") or leaf.get("request", leaf.get("entry", {}))["tenant"]) == tenant
        ring = [leaf for leaf in leaves if leaf["kind"] == "ring"]
        assert {leaf["entry"]["keyid"] for leaf in ring} == {entry.keyid for entry in own(three, tenant)}
        assert set(three.records[tenant][:3]) <= {record["audit_id"] for record in records}
        for filters in ({"outcome": "signed"}, {"outcome": "refused"}, {"code": "key.revoked"}):
            found = {record["index"] for record in pages(caller, **filters)}
            assert found
            assert found <= {record["index"] for record in pages(caller)}
        never = plain(caller.call("audit.query", {"filters": {"audit_id": "nobody"}, "limit": 9}))
        theirs = [one for other in TENANTS if other != tenant for one in three.records[other]]
        for one in theirs:
            for cursor in ({}, {"cursor": "0"}):
                asked = {"filters": {"audit_id": one}, "limit": 9, **cursor}
                assert plain(caller.call("audit.query", asked)) == never
        # By a subject's digest nobody can search yet, and the refusal does not say whether there is one.
        digests = [{"subject_sha256": one} for one in (*theirs, "00" * 32)]
        assert len({plain(caller.call("audit.query", {"filters": each, "limit": 9})) for each in digests}) == 1


def test_the_count_of_the_day_is_each_tenants_own(three: Tenants) -> None:
    def left(tenant: str) -> int:
        with three.caller(tenant) as caller:
            remaining: int = caller.result("quota.status", {})["remaining"]["daily"]
            return remaining

    second = TENANTS[1]
    before = {tenant: left(tenant) for tenant in TENANTS}
    with three.caller(second) as caller:
        caller.result("sign.dsse", order(second))
    assert {tenant: left(tenant) for tenant in TENANTS} == {**before, second: before[second] - 1}


@pytest.mark.parametrize("tenant", TENANTS)
def test_items_of_a_batch_that_name_others_keys_are_refused_alone(three: Tenants, tenant: str) -> None:
    references = [*sorted({entry.key for entry in three.versions}), "file:nobody"]
    with three.caller(tenant) as caller:
        batch = {"items": [order(tenant, name) for name in references]}
        outcomes = caller.result("sign.batch", batch)["outcomes"]
        assert [outcome["index"] for outcome in outcomes] == list(range(len(references)))
        never = msgpack.packb(outcomes[-1]["error"])
        for reference, outcome in zip(references, outcomes, strict=True):
            if f":{tenant}-" not in reference:
                assert msgpack.packb(outcome["error"]) == never
            elif SIGNS[reference.rpartition("-")[2]]:
                assert f"{outcome['error']['code']} {outcome['error']['details']['reason']}" in SIGNS.values()
            else:
                assert outcome["ok"]["receipt"]["decision"]["keys"][0]["key"] == reference


@pytest.mark.parametrize("tenant", TENANTS)
def test_one_foreign_key_among_the_own_has_nothing_signed(three: Tenants, tenant: str) -> None:
    mine = [f"file:{tenant}-active", f"file:{tenant}-granted"]
    with three.caller(tenant) as caller:
        assert len(caller.result("sign.dsse", order(tenant, *mine))["bundles"]) == 2
        never = plain(caller.call("sign.dsse", order(tenant, *mine, "file:nobody")))
        for other in TENANTS:
            if other == tenant:
                continue
            for place in range(3):
                named = [*mine[:place], f"file:{other}-active", *mine[place:]]
                assert plain(caller.call("sign.dsse", order(tenant, *named))) == never
            # As the default of a batch: the items that name nothing fall under it, one that names its own key does not.
            batch = {"items": [order(tenant), order(tenant, mine[0])], "options": {"keys": [f"file:{other}-active"]}}
            refused, signed = caller.result("sign.batch", batch)["outcomes"]
            assert refused["error"]["code"] == "key.not_found"
            assert "ok" in signed


@pytest.mark.parametrize("tenant", TENANTS)
def test_the_admin_plane_is_not_on_the_sign_socket(three: Tenants, tenant: str) -> None:
    elsewhere = [name for name, spec in METHODS.items() if "sign" not in spec.sockets]
    assert len(elsewhere) > 10
    with three.caller(tenant) as caller:
        for method in elsewhere:
            answers = {plain(caller.call(method, {"key": name, "reason": "x"})) for name in NOBODY}
            answers |= {plain(caller.call(method, {"key": entry.key, "reason": "x"})) for entry in three.versions}
            assert len(answers) == 1
            assert told(caller.call(method, {"key": "x"})) == "request.unsupported other_socket"


def test_signing_is_not_on_the_admin_socket_and_the_rest_is_the_admins(three: Tenants) -> None:
    with Client(three.daemon.socket.with_name("admin.sock")) as admin:
        hello = admin.greet()
        assert hello is not None
        assert sorted(hello["methods"]) == sorted(SERVED["admin"])
        for method, spec in METHODS.items():
            if "admin" not in spec.sockets:
                answer = admin.error(method, ASKED[method]("aardvark", "file:aardvark-active"))
                assert told(answer) == "request.unsupported other_socket"
        assert {row["tenant"] for row in admin.result("keys.versions", {})["keys"]} == set(TENANTS)
        assert {row["name"] for row in admin.result("daemon.info", {})["backends"]} == {f"{t}-soft" for t in TENANTS}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[str, int], RingEntry]]:
    """The same three tenants' state, for sealers without a front end."""
    base = tmp_path_factory.mktemp("sealed")
    versions = {(entry.key, entry.version): entry for entry in lived(base / "state")}
    configured(base, {0: TENANTS[0]})
    return base, versions


@pytest.mark.parametrize(
    ("life", "under"), [*((life, "its own name") for life in LIVES), ("active", "mine"), ("revoked", "mine")]
)
def test_a_front_end_that_asks_for_another_tenants_key_is_cut_off(
    sealed: tuple[Path, dict[tuple[str, int], RingEntry]], life: str, under: str
) -> None:
    """Whoever has the front end can send items past its gate: the sealer compares key and tenant itself."""
    base, versions = sealed
    theirs = versions[f"file:bumblebee-{life}", 1]
    mine = "file:aardvark-active"
    use = KeyUse(theirs.key if under == "its own name" else mine, "request", theirs.keyid, 1)
    tried = life + under.replace(" ", "")
    sealer = SealerProcess(base / "state", load(base / "signerd.toml", state=base / "state"))
    try:
        sealer.open()
        honest = sealer.item(mine, audit_id=f"{tried}before")
        (outcome,) = sealer.seal(honest)
        assert outcome.ok is not None
        decision = msgspec.structs.replace(honest.decision, keys=(use,))
        sealer.send(SealMany((sealer.item(mine, audit_id=tried, decision=decision),)))
        assert sealer.ended()
        assert sealer.status() == 0
        assert tried not in {one for one, outcome in sealer.outcomes().items() if outcome.ok}
    finally:
        sealer.close()
    leaves = leaves_of(base / "state")
    leaf = [leaf for leaf in leaves if leaf["kind"] == "refused"][-1]
    assert (leaf["audit_id"], leaf["outcome"], leaf["code"], leaf["reason"]) == ("", "fault", "internal", "foreign_key")
    ends = {leaf["audit_id"]: leaf["outcome"] for leaf in leaves if leaf["kind"] == "outcome"}
    assert ends[f"{tried}before"] == "unknown"
    assert ends.get(tried) != "signed"
