import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from fakes.services import FakeClock, MemoryLedger
from signerd.contracts.services import Charge, Remaining
from signerd.daemon.compose import limits_of, plugin_entries, plugin_infos, quotas_of, services_of
from signerd.daemon.deadlines import DeadlineHeap
from signerd.daemon.snapshot import Snapshot
from signerd.errors import Refusal
from signerd.host.config import embedded, parse
from signerd.host.config_limits import Limits
from signerd.host.config_model import Config
from signerd.host.load import Provided, load_policy_plugins
from signerd.host.memfd import sealed_memfd
from signerd.pipeline.services import Services
from signerd.wire.methods import Descriptor, SignDsse, Subject

TWO_TENANTS = """
[daemon]
state = "/var/lib/signerd"
[limits]
payload_bytes = 5000
inline_bytes = 2000
subjects = 7
[plugins.auth-peercred]
certificate = "none"
[plugins.entitlement-file]
certificate = "none"
[plugins.release-allowlist]
certificate = "none"
[plugins.predicates-stella]
certificate = "none"
[plugins.predicates-intoto]
certificate = "none"
[backends.file]
certificate = "none"
scheme = "file"
[tenants.local]
keys = ["file:a", "file:b"]
default_key = "file:b"
predicates = ["https://cyclonedx.org/bom", "https://slsa.dev/provenance/v1"]
exempt_predicates = ["https://slsa.dev/provenance/v1"]
require_attested = true
[tenants.other]
keys = ["file:c"]
[keys."file:a"]
backend = "file"
tenant = "local"
[keys."file:b"]
backend = "file"
tenant = "local"
[keys."file:c"]
backend = "file"
tenant = "other"
"""


def composed(config: Config) -> Services:
    loaded = load_policy_plugins(plugin_entries(config), development=False)
    clock = FakeClock()
    quotas = quotas_of(loaded, clock, _nothing_aside)
    return services_of(config, loaded, Snapshot(), MemoryLedger(), DeadlineHeap(lambda: None), clock, quotas)


def _nothing_aside(_awaitable: object) -> None:
    raise AssertionError("a store in memory waits for nothing")


@pytest.fixture(scope="module")
def services() -> Services:
    return composed(parse(TWO_TENANTS, "signerd.toml"))


def test_plugins_keep_the_configured_order_with_their_pins() -> None:
    text = TWO_TENANTS.replace("[plugins.release-allowlist]", '[plugins.release-allowlist]\nversion = "0.1.0"\nx = 1')
    entries = plugin_entries(parse(text, "signerd.toml"))
    assert list(entries) == [
        "auth-peercred",
        "entitlement-file",
        "release-allowlist",
        "predicates-stella",
        "predicates-intoto",
    ]
    assert entries["release-allowlist"].version == "0.1.0"
    assert entries["release-allowlist"].settings == {"x": 1}


def test_what_is_loaded_is_told_with_its_digest() -> None:
    loaded = load_policy_plugins(plugin_entries(parse(TWO_TENANTS, "signerd.toml")), development=False)
    infos = plugin_infos(loaded)
    assert [info.name for info in infos][:2] == ["signerd-auth-peercred", "signerd-entitlement-file"]
    assert all(len(info.digest.removeprefix("sha256:")) == 64 for info in infos)


def test_the_limits_that_a_connection_is_told_are_the_configured_ones() -> None:
    told = limits_of(Limits(in_flight=3, longest_deadline_s=0.5, request_deadline_s=0.1), 64)
    assert (told.in_flight, told.deadline_ms, told.descriptors, told.frame_bytes) == (3, 500, 64, 4 << 20)


def test_tenants_and_bounds_are_those_of_the_file(services: Services) -> None:
    local, other = services.tenants["local"], services.tenants["other"]
    assert (local.default_key, other.default_key) == ("file:b", "file:c")
    assert set(local.predicates or ()) == {"https://cyclonedx.org/bom", "https://slsa.dev/provenance/v1"}
    assert local.exempt == {"https://slsa.dev/provenance/v1"}
    assert local.require_attested
    assert other.predicates is None
    assert services.bounds.subjects == 7
    assert local.backends == other.backends == {"file"}
    assert services.quotas.peek(Charge("local", "x", None, 1, None, 3)) == Remaining(3)


def test_every_provider_stands_under_its_guard(services: Services) -> None:
    assert len(services.authenticators) == len(services.release_checks) == 1
    assert "https://cyclonedx.org/bom" in services.catalogue.types
    assert "https://stella-ops.org/attestations/sbom/v1" in services.catalogue.types


def test_claims_are_checked_against_the_configured_size(services: Services) -> None:
    order = SignDsse((Subject("a", digest={"sha256": "0" * 64}),), "x", Descriptor(0, 6000))
    fd = sealed_memfd("x", bytes(6000))
    with pytest.raises(Refusal) as refused:
        services.check_claims((order,), (fd,))
    os.close(fd)
    assert refused.value.code == "request.too_large"


def test_embedded_defaults_compose(tmp_path: Path) -> None:
    services = composed(embedded(tmp_path / "state", tmp_path / "sock", ["sha256:" + "a" * 64]))
    assert list(services.tenants) == ["local"]


def test_the_quota_store_is_the_plugins_where_one_brings_it() -> None:
    class Store:
        def admit_many(self, charges: Sequence[Charge]) -> Sequence[Remaining]:
            return [Remaining(7) for _ in charges]

        def release_many(self, charges: Sequence[Charge], *, signed: bool) -> None:
            raise AssertionError("no slot was taken")

        def seed(self, day: int, counts: dict[str, int]) -> None:
            raise AssertionError("nothing was counted")

    loaded = load_policy_plugins(plugin_entries(parse(TWO_TENANTS, "signerd.toml")), development=False)
    loaded = dataclasses.replace(loaded, quota_store=Provided("other", Store()))
    quotas = quotas_of(loaded, FakeClock(), _nothing_aside)
    charge = Charge("local", "x", None, 1, None, 3)
    assert quotas.peek(charge) is None
    with pytest.raises(StopIteration) as ended:
        quotas.admit(charge).send(None)
    assert ended.value.value == Remaining(7)


def test_a_reload_keeps_the_quotas_that_are_in_use() -> None:
    config = parse(TWO_TENANTS, "signerd.toml")
    loaded = load_policy_plugins(plugin_entries(config), development=False)
    clock = FakeClock()
    store = quotas_of(loaded, clock, _nothing_aside)
    again = services_of(config, loaded, Snapshot(), MemoryLedger(), DeadlineHeap(lambda: None), clock, store)
    assert again.quotas is store
