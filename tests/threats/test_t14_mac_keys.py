"""T14, for keys that make MACs: a tenant names, uses, lists or infers another tenant's, or uses its own for what it is
not for.

Both tenants have one of every life; each asks for all of them by every name, by every method that takes a key. The
daemon's own uid belongs to one tenant at a time, and a reload moves it.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest

from running.client import SBOM, SBOM_TYPE, Client
from running.daemon import RELEASE, Running, running

TENANTS = ("aardvark", "bumblebee")
LIVES = ("active", "suspended", "revoked", "retired", "rotated", "planned")
NOBODY = "hmac:nobody"
PURPOSES = ("signing", "authentication", "webhook-interop")


def configuration(base: Path, tenant: str) -> str:
    """The file by which the own uid belongs to ``tenant``."""
    text = f"""
[sockets.sign]
[sockets.admin]
path = "{base}/admin.sock"
[plugins.auth-peercred]
certificate = "none"
[plugins.auth-peercred.callers]
{os.geteuid()} = {{ tenant = "{tenant}" }}
[plugins.entitlement-file]
certificate = "none"
[plugins.entitlement-file.plans.shared]
concurrency = 64
size = 1048576
[plugins.release-allowlist]
certificate = "none"
releases = [{{ digest = "{RELEASE}" }}]
[plugins.predicates-intoto]
certificate = "none"
[backends.hmac]
certificate = "none"
scheme = "hmac"
settings = {{ directory = "{base}/secrets" }}
[backends.file]
certificate = "none"
scheme = "file"
settings = {{ directory = "{base}/keys" }}
"""
    for each in TENANTS:
        keys = [f"hmac:{each}-{life}" for life in LIVES]
        text += f"""
[plugins.entitlement-file.tenants.{each}]
plan = "shared"
[tenants.{each}]
keys = {[*keys, f"file:{each}"]}
[keys."file:{each}"]
backend = "file"
tenant = "{each}"
generate = "ES256"
"""
        for key in keys:
            text += f"""
[keys."{key}"]
backend = "hmac"
tenant = "{each}"
purposes = ["signing"]
algorithm = "HMAC-SHA256"
generate = "HMAC-SHA256"
{'plans = ["platinum"]' if key.endswith("planned") else ""}
"""
    return text


class Two:
    """The daemon, and the keyid of each version by reference."""

    def __init__(self, base: Path, daemon: Running) -> None:
        self.base = base
        self.daemon = daemon
        with Client(base / "admin.sock") as admin:
            admin.greet()
            for tenant in TENANTS:
                for life, method in (("suspended", "suspend"), ("revoked", "revoke"), ("retired", "retire")):
                    admin.result(f"keys.{method}", {"key": f"hmac:{tenant}-{life}", "reason": "test"})
                rotated = {"key": f"hmac:{tenant}-rotated", "reason": "test", "overlap_s": 600}
                admin.result("keys.rotate", rotated)
            rows = admin.result("keys.versions", {})["keys"]
        self.versions: dict[str, list[str]] = {}
        for row in rows:
            self.versions.setdefault(row["key"], []).append(row["keyid"])

    @contextlib.contextmanager
    def caller(self, tenant: str) -> Iterator[Client]:
        file = self.base / "signerd.toml"
        file.write_text(configuration(self.base, tenant))
        with Client(self.base / "admin.sock") as admin:
            admin.greet()
            admin.result("admin.reload", {})
        with Client(self.daemon.socket) as client:
            client.greet()
            yield client

    def names(self, reference: str) -> list[str]:
        """All by which somebody could try to name a key."""
        keyids = self.versions[reference]
        return [reference, *keyids, *[keyid.removeprefix("sha256:") for keyid in keyids], f"{reference}.v2"]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    base = tmp_path_factory.mktemp("two")
    with running(base, config=configuration(base, TENANTS[0])) as daemon:
        yield Two(base, daemon)


def plain(answer: dict[str, Any]) -> bytes:
    """An answer's bytes without what no two answers share."""
    return bytes(msgpack.packb({name: value for name, value in answer.items() if name not in ("id", "nonce")}))


def requests(name: str, purpose: str = "signing") -> dict[str, dict[str, Any]]:
    """Every method that takes a key, asked for ``name``."""
    mac = {"purpose": purpose, "key": name, "data": b"x"}
    sign = {
        "subject": [{"name": "a", "digest": {"sha256": "ab" * 32}}],
        "predicate_type": SBOM_TYPE,
        "predicate": SBOM,
        "scanner_image_digest": RELEASE,
        "options": {"keys": [name]},
    }
    return {
        "hmac.compute": mac,
        "hmac.verify": {**mac, "mac": bytes(32)},
        "keys.describe": {"key": name},
        "sign.dsse": sign,
    }


@pytest.mark.parametrize("tenant", TENANTS)
def test_another_tenants_key_is_as_one_that_never_was(two: Two, tenant: str) -> None:
    (other,) = set(TENANTS) - {tenant}
    with two.caller(tenant) as caller:
        for purpose in PURPOSES:
            never = {method: plain(caller.call(method, asked)) for method, asked in requests(NOBODY, purpose).items()}
            for life in LIVES:
                for name in two.names(f"hmac:{other}-{life}"):
                    for method, asked in requests(name, purpose).items():
                        assert plain(caller.call(method, asked)) == never[method], (method, name)
        listed = {key["key"] for key in caller.result("keys.list", {})["keys"]}
        assert listed == {f"hmac:{tenant}-{life}" for life in LIVES} | {f"file:{tenant}"}


OWN = {
    "active": "",
    "rotated": "",
    "suspended": "key.suspended suspended",
    "revoked": "key.revoked revoked",
    "retired": "key.expired retired",
    "planned": "key.forbidden other_plan",
}


def told(answer: dict[str, Any]) -> str:
    return f"{answer['code']} {answer['details']['reason']}" if answer["type"] == "error" else ""


@pytest.mark.parametrize("tenant", TENANTS)
def test_the_own_key_makes_macs_as_its_life_and_its_purposes_allow(two: Two, tenant: str) -> None:
    with two.caller(tenant) as caller:
        for life, expected in OWN.items():
            reference = f"hmac:{tenant}-{life}"
            for purpose in PURPOSES:
                asked = requests(reference, purpose)
                want = expected if purpose == "signing" or expected.startswith(("key.s", "key.r", "key.e")) else ""
                if purpose != "signing" and not want:
                    want = "key.forbidden other_purpose"
                assert told(caller.call("hmac.compute", asked["hmac.compute"])) == want, (life, purpose)
                assert told(caller.call("hmac.verify", asked["hmac.verify"])) == want, (life, purpose)
            assert told(caller.call("sign.dsse", requests(reference)["sign.dsse"])) == "key.forbidden mac_key"
        signing = requests(f"file:{tenant}")
        assert told(caller.call("hmac.compute", signing["hmac.compute"])) == "key.forbidden signing_key"
        assert told(caller.call("hmac.verify", signing["hmac.verify"])) == "key.forbidden signing_key"


@pytest.mark.parametrize("tenant", TENANTS)
def test_a_mac_of_another_tenant_is_none_of_ones_own(two: Two, tenant: str) -> None:
    (other,) = set(TENANTS) - {tenant}
    with two.caller(other) as caller:
        theirs = caller.result("hmac.compute", requests(f"hmac:{other}-active")["hmac.compute"])
    with two.caller(tenant) as caller:
        asked = {**requests(f"hmac:{tenant}-active")["hmac.verify"], "mac": theirs["mac"]}
        assert caller.result("hmac.verify", asked)["valid"] is False
        never = plain(caller.call("hmac.verify", {**asked, "key": "sha256:" + "0" * 64}))
        assert plain(caller.call("hmac.verify", {**asked, "key": theirs["keyid"]})) == never
        page = caller.result("audit.query", {"filters": {"audit_id": theirs["audit_id"]}, "limit": 9})
        assert page["records"] == []
