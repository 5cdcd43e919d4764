"""T5: a caller quotes the digest of a genuine scanner, which anybody can read off a registry.

The daemon cannot know better, but it never says more than it knows: what was only asserted stands so in receipt and
record, and a tenant may demand more.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from running.client import Client
from running.configured import configuration
from running.daemon import RELEASE, Running, running

FORGED = "sha256:" + "cd" * 32


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A daemon whose tenant takes nobody's word for the scanner."""
    base = tmp_path_factory.mktemp("strict")
    tenant = '[tenants.local]\nkeys = ["file:default"]'
    text = configuration(base, {}).replace(tenant, f"{tenant}\nrequire_attested = true")
    assert "require_attested" in text
    with running(base, config=text) as daemon:
        yield daemon


def leaves_of(daemon: Running, kind: str) -> list[dict[str, Any]]:
    return [json.loads(row["leaf"]) for row in daemon.leaves() if row["kind"] == kind]  # type: ignore[arg-type]


def test_the_callers_word_is_shown_as_the_callers_word(daemon: Running, client: Client, sbom: dict[str, Any]) -> None:
    receipt = client.result("sign.dsse", sbom)["receipt"]
    told = {"verdict": "trusted", "how": "allowlist", "binding": "asserted"}
    assert receipt["decision"]["release"] == told
    (decided,) = leaves_of(daemon, "decided")
    assert decided["decision"]["release"] == told
    assert decided["request"]["scanner_digest"] == RELEASE


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"scanner_image_digest": FORGED}, "not_listed"), ({"scanner_image_digest": None}, "digest_missing")],
)
def test_a_digest_of_nobody_is_nobodys(
    client: Client, sbom: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    params = {name: value for name, value in (sbom | changes).items() if value is not None}
    answer = client.error("sign.dsse", params)
    assert (answer["code"], answer["details"]["reason"]) == ("release.untrusted", reason)


def test_a_tenant_may_demand_more_than_a_word(strict: Running, sbom: dict[str, Any]) -> None:
    with Client(strict.socket) as client:
        client.greet()
        answer = client.error("sign.dsse", sbom)
    assert (answer["code"], answer["details"]["reason"]) == ("release.untrusted", "binding_asserted")
    assert answer["retryable"] is False
    (refused,) = leaves_of(strict, "refused")
    assert (refused["code"], refused["reason"]) == ("release.untrusted", "binding_asserted")
    assert refused["request"]["scanner_digest"] == RELEASE
    assert leaves_of(strict, "decided") == []
