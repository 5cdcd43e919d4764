"""T14: a tenant names, uses, lists or infers another tenant's key or records.

Two tenants in one configuration, one after the other the caller's: what the first has left behind, its keys, its
records, its count, does not exist for the second.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from running.client import Client
from running.configured import configuration
from running.daemon import Running, running

OTHER, OWN = "other", "local"


def two_tenants(base: Any, tenant: str) -> str:
    """The embedded defaults with a second tenant and its key; ``tenant`` is whose the caller is."""
    text = configuration(base, {})
    caller = f'[plugins.auth-peercred.callers.{os.geteuid()}]\ntenant = "{tenant}"\n'
    plans = "".join(f'tenants.{name} = {{ plan = "small" }}\n' for name in (OWN, OTHER))
    plans += "plans.small = { concurrency = 4, size = 1048576, daily = 3 }\n"
    changed = text.replace("[plugins.auth-peercred]\n", f"{caller}[plugins.auth-peercred]\n").replace(
        "[plugins.entitlement-file]\n", f"[plugins.entitlement-file]\n{plans}"
    )
    assert changed.count("plan") == 3
    assert caller in changed
    return f"""{changed}
[tenants.{OTHER}]
keys = ["file:other"]
[keys."file:other"]
backend = "file"
tenant = "{OTHER}"
generate = "ES256"
"""


@dataclass(frozen=True, slots=True)
class Others:
    """What the other tenant has left behind."""

    key: str
    keyid: str
    audit_id: str


@dataclass(frozen=True, slots=True)
class After:
    """The daemon, now the second tenant's."""

    daemon: Running
    others: Others


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Iterator[After]:
    base = tmp_path_factory.mktemp("tenants")
    with running(base, config=two_tenants(base, OTHER)) as daemon, Client(daemon.socket) as client:
        client.greet()
        (key,) = client.result("keys.list", {})["keys"]
        results = [client.result("sign.dsse", asked(daemon)) for _ in range(3)]
        others = Others(key["key"], key["keyid"], results[0]["receipt"]["audit_id"])
    with running(base, config=two_tenants(base, OWN)) as daemon:
        yield After(daemon, others)


@pytest.fixture
def caller(after: After) -> Iterator[Client]:
    with Client(after.daemon.socket) as client:
        client.greet()
        yield client


def asked(daemon: Running, **changes: Any) -> dict[str, Any]:
    return {
        "subject": [{"name": "artefact", "digest": {"sha256": "ab" * 32}}],
        "predicate_type": "https://cyclonedx.org/bom",
        "predicate": b'{"bomFormat":"CycloneDX","specVersion":"1.6","version":1}',
        "scanner_image_digest": daemon.release,
        **changes,
    }


def without(answer: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in ("id", *names)}


def test_the_others_key_is_there(after: After) -> None:
    assert after.others.key == "file:other"
    assert any(row["audit_id"] == after.others.audit_id for row in after.daemon.leaves())


def test_a_key_of_another_tenant_is_as_one_that_does_not_exist(caller: Client, after: After) -> None:
    answers = [
        caller.error("sign.dsse", asked(after.daemon, options={"keys": [key]}))
        for key in (after.others.key, "file:nobody", after.others.keyid)
    ]
    assert [without(answer) for answer in answers] == [without(answers[1])] * 3
    assert answers[0]["code"] == "key.not_found"
    mixed = caller.error("sign.dsse", asked(after.daemon, options={"keys": ["file:default", after.others.key]}))
    assert without(mixed) == without(answers[1])


@pytest.mark.parametrize("by", ["key", "keyid"])
def test_it_cannot_be_described(caller: Client, after: After, by: str) -> None:
    answer = caller.error("keys.describe", {"key": getattr(after.others, by)})
    assert without(answer) == without(caller.error("keys.describe", {"key": "file:nobody"}))
    assert answer["code"] == "key.not_found"


def test_it_is_not_listed(caller: Client) -> None:
    assert [key["key"] for key in caller.result("keys.list", {})["keys"]] == ["file:default"]


@pytest.mark.parametrize("filters", [{}, {"outcome": "signed"}, {"audit_id": None}])
def test_the_others_records_are_not_found(caller: Client, after: After, filters: dict[str, Any]) -> None:
    own = caller.result("sign.dsse", asked(after.daemon))["receipt"]["audit_id"] if not filters else ""
    if "audit_id" in filters:
        filters = {"audit_id": after.others.audit_id}
    found = caller.result("audit.query", {"filters": filters, "limit": 200})
    leaves = [json.loads(record["leaf"]) for record in found["records"]]
    assert after.others.audit_id not in [record["audit_id"] for record in found["records"]]
    tenants = {leaf.get("tenant") or leaf.get("request", leaf.get("entry", {}))["tenant"] for leaf in leaves}
    assert tenants <= {OWN}
    assert not own or own in [record["audit_id"] for record in found["records"]]


def test_nor_is_the_day_that_the_other_has_used_up(caller: Client, after: After) -> None:
    """The other's three signatures of the day are gone; the count is read back from the log at start."""
    before = caller.result("quota.status", {})["remaining"]["daily"]
    assert before >= 2
    caller.result("sign.dsse", asked(after.daemon))
    assert caller.result("quota.status", {})["remaining"]["daily"] == before - 1


def test_a_session_for_the_other_tenant_is_refused(caller: Client) -> None:
    assert caller.error("session.bind", {"tenant": OTHER})["code"] == "auth.tenant_mismatch"
