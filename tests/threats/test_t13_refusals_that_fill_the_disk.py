"""T13: a local process fills the disk with refusals. They are counted, and each uid has a cap; signing goes on."""

import json
from pathlib import Path
from typing import Any

import pytest

from running.client import ARTEFACT, SBOM, SBOM_TYPE, Client
from running.configured import configuration
from running.daemon import Running
from signerd.host.config_limits import AUDIT_REFUSED_BYTES

FLOOD = 20_000
PIPELINE = 32


def flood(client: Client, method: str, params: dict[str, Any], code: str) -> None:
    """FLOOD refused requests, many in flight at once; each is answered with ``code``."""
    asked = answered = 0
    while answered < FLOOD:
        while asked < FLOOD and asked - answered < PIPELINE:
            client.last_id += 1
            client.put({"type": "request", "id": client.last_id, "method": method, "params": params})
            asked += 1
        answer = client.take()
        assert answer is not None
        assert (answer["type"], answer["code"]) == ("error", code), answer
        answered += 1


def order(**changes: Any) -> dict[str, Any]:
    return {
        "predicate_type": SBOM_TYPE,
        "predicate": SBOM,
        "subject": [{"name": "artefact", "digest": {"sha256": ARTEFACT}}],
        **changes,
    }


def leaves(daemon: Running) -> list[dict[str, Any]]:
    return [json.loads(row["leaf"]) for row in daemon.leaves()]  # type: ignore[arg-type]  # bytes


def log_bytes(daemon: Running) -> int:
    """What the state directory holds for the log, its write-ahead part included."""
    return sum(path.stat().st_size for path in daemon.state.glob("audit.sqlite*"))


def test_a_flood_of_refused_orders_is_capped_and_counted(daemon_factory: Any) -> None:
    daemon: Running = daemon_factory()
    with Client(daemon.socket) as client:
        client.greet()
        signed = client.call("sign.dsse", order(scanner_image_digest=daemon.release))
        assert signed["type"] == "response", signed
        before = log_bytes(daemon)
        flood(client, "sign.dsse", order(scanner_image_digest="sha256:" + "0" * 64), "release.untrusted")
        # A group leaves up to 4 MiB in the write-ahead log, which is used again and not grown.
        assert log_bytes(daemon) - before < 8 * AUDIT_REFUSED_BYTES + (4 << 20)
        after = client.call("sign.dsse", order(scanner_image_digest=daemon.release))
        assert after["type"] == "response", "who signs is not held up"
    assert daemon.terminate() == 0
    refused = [leaf for leaf in leaves(daemon) if leaf["kind"] == "refused"]
    assert sum(leaf.get("count", 1) for leaf in refused) == FLOOD, "none is forgotten"
    # Minutes may turn over meanwhile, each with a cap and a count of its own.
    minutes = 3
    assert sum(len(json.dumps(leaf)) for leaf in refused) < minutes * AUDIT_REFUSED_BYTES
    assert len(refused) < minutes * AUDIT_REFUSED_BYTES / 400
    counted = [leaf for leaf in refused if leaf.get("count", 1) > 1]
    assert 1 <= len(counted) <= minutes
    assert {leaf["code"] for leaf in counted} == {"release.untrusted"}
    assert {leaf["request"]["tenant"] for leaf in counted} == {"local"}
    assert sum(leaf.get("outcome") == "signed" for leaf in leaves(daemon)) == 2


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [("keys.describe", {"key": "file:nobody"}, "key.not_found"), ("keys.destroy", {}, "request.unsupported")],
)
def test_a_flood_of_refused_reads_is_a_count(
    daemon_factory: Any, method: str, params: dict[str, Any], code: str
) -> None:
    daemon: Running = daemon_factory()
    with Client(daemon.socket) as client:
        client.greet()
        flood(client, method, params, code)
    assert daemon.terminate() == 0
    refused = [leaf for leaf in leaves(daemon) if leaf["kind"] == "refused"]
    assert sum(leaf["count"] for leaf in refused) == FLOOD
    assert len(refused) <= 2, "one a minute"
    assert {leaf["code"] for leaf in refused} == {code}
    known = method == "keys.describe"
    assert {leaf["request"]["method"] for leaf in refused} == {method if known else ""}, "no text of a caller's"


def test_connections_of_a_stranger_are_a_count(daemon_factory: Any, tmp_path: Path) -> None:
    text = configuration(tmp_path, {}).replace("[plugins.auth-peercred]", "[plugins.auth-peercred]\nuids = [4000000]")
    daemon: Running = daemon_factory(tmp_path, config=text)
    for _ in range(300):
        with Client(daemon.socket) as client:
            refused = client.take()
            assert refused is not None
            assert refused["code"] == "auth.peer_denied"
    assert daemon.terminate() == 0
    found = [leaf for leaf in leaves(daemon) if leaf["kind"] == "refused"]
    assert sum(leaf.get("count", 1) for leaf in found) == 300
    assert len(found) <= 2
    assert "tenant" not in found[0]["request"]
    assert "principal" not in found[0]["request"]
