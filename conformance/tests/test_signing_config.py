import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from fakes.sigstore import Sigstore
from signerd.errors import Refusal
from signerd.verification.trusted_root import parse_trusted_root
from signerd_conformance.signing_config import LARGEST_SIGNING_CONFIG, services_of

STACK = Sigstore()
AUTHORITY = "https://authority.example"
LOG = f"https://{STACK.host}:3003"
NOW = datetime(2026, 7, 1, tzinfo=UTC)
Change = Callable[[dict[str, Any]], None]


def service(url: str, version: int = 1, start: str = "2026-01-01T00:00:00Z", **more: object) -> dict[str, Any]:
    return {"url": url, "majorApiVersion": version, "validFor": {"start": start, **more}, "operator": "tests"}


def config(change: Change = lambda made: None) -> bytes:
    made: dict[str, Any] = {
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "caUrls": [service(AUTHORITY)],
        "oidcUrls": [service("https://issuer.example")],
        "rekorTlogUrls": [service(LOG, 2)],
        "rekorTlogConfig": {"selector": "ANY"},
        "tsaUrls": [service(AUTHORITY)],
        "tsaConfig": {"selector": "ANY"},
    }
    change(made)
    return json.dumps(made).encode()


ROOT = parse_trusted_root(STACK.trusted_root())


def test_the_services_are_those_of_the_root() -> None:
    services = services_of(config(), ROOT, NOW)
    assert services.authority == (AUTHORITY, ROOT.certificate_authorities[0])
    assert services.ct_logs == ROOT.ct_logs
    # Of the two logs at that host the one that is a Rekor v2.
    assert services.logs == ((LOG, ROOT.logs[1]),)
    assert services.stamps == ((AUTHORITY, ROOT.timestamp_authorities[0]),)


def test_the_newest_that_is_in_use_is_taken() -> None:
    def change(made: dict[str, Any]) -> None:
        made["rekorTlogUrls"] = [
            service(f"{LOG}/old", 2),
            service(f"{LOG}/ended", 2, "2026-03-01T00:00:00Z", end="2026-04-01T00:00:00Z"),
            service(f"{LOG}/new", 2, "2026-02-01T00:00:00Z"),
            service(f"{LOG}/to-come", 2, "2026-08-01T00:00:00Z"),
            service(f"{LOG}/v1", 1, "2026-05-01T00:00:00Z"),
        ]

    assert [url for url, _ in services_of(config(change), ROOT, NOW).logs] == [f"{LOG}/new"]


@pytest.mark.parametrize(
    ("choice", "count"), [({"selector": "ALL"}, 3), ({"selector": "EXACT", "count": 2}, 2), (None, 1)]
)
def test_as_many_logs_as_are_asked_for(choice: dict[str, Any] | None, count: int) -> None:
    def change(made: dict[str, Any]) -> None:
        made["rekorTlogUrls"] = [service(f"{LOG}/{number}", 2) for number in range(3)]
        made["rekorTlogConfig"] = choice

    assert len(services_of(config(change), ROOT, NOW).logs) == count


def a_selector(made: dict[str, Any]) -> None:
    made["tsaConfig"]["selector"] = "SOME"


def a_field(made: dict[str, Any]) -> None:
    made["surprise"] = 1


def a_media_type(made: dict[str, Any]) -> None:
    made["mediaType"] = "application/vnd.dev.sigstore.signingconfig.v0.1+json"


def a_time(made: dict[str, Any]) -> None:
    made["caUrls"][0]["validFor"]["start"] = "2026-01-01T00:00:00"


@pytest.mark.parametrize("change", [a_selector, a_field, a_media_type, a_time])
def test_what_is_no_signing_config(change: Change) -> None:
    with pytest.raises(Refusal) as refused:
        services_of(config(change), ROOT, NOW)
    assert (refused.value.code, refused.value.reason) == ("request.malformed", "signing_config")


@pytest.mark.parametrize("text", [b"", b"[]", b'{"a":1,"a":2}', b" " * (LARGEST_SIGNING_CONFIG + 1)])
def test_what_is_no_json_of_one(text: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        services_of(text, ROOT, NOW)
    assert (refused.value.code, refused.value.reason) == ("request.malformed", "signing_config")


def no_authority(made: dict[str, Any]) -> None:
    made["caUrls"] = []


def older_logs_alone(made: dict[str, Any]) -> None:
    made["rekorTlogUrls"] = [service(LOG, 1)]


def too_few(made: dict[str, Any]) -> None:
    made["tsaConfig"] = {"selector": "EXACT", "count": 2}


@pytest.mark.parametrize("change", [no_authority, older_logs_alone, too_few])
def test_services_that_are_not_there(change: Change) -> None:
    with pytest.raises(Refusal) as refused:
        services_of(config(change), ROOT, NOW)
    assert (refused.value.code, refused.value.reason) == ("request.unsupported", "service_missing")


def another_authority(made: dict[str, Any]) -> None:
    made["caUrls"] = [service("https://other.example")]


def another_log(made: dict[str, Any]) -> None:
    made["rekorTlogUrls"] = [service("https://other.example", 2)]


def no_url(made: dict[str, Any]) -> None:
    made["rekorTlogUrls"] = [service("https://[", 2)]


@pytest.mark.parametrize("change", [another_authority, another_log, no_url])
def test_services_that_the_root_does_not_know(change: Change) -> None:
    with pytest.raises(Refusal) as refused:
        services_of(config(change), ROOT, NOW)
    assert (refused.value.code, refused.value.reason) == ("request.unsupported", "service_unknown")


def test_a_root_without_ct_logs_is_of_no_use() -> None:
    root = parse_trusted_root(STACK.trusted_root(lambda root: root.update(ctlogs=[])))
    with pytest.raises(Refusal) as refused:
        services_of(config(), root, NOW)
    assert refused.value.reason == "service_unknown"
