"""The daemon as a client sees it that was written from docs/protocol.md alone (`running.client`).

It breaks each rule of the page once.
"""

import base64
import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from running.client import ARTEFACT, SBOM, SBOM_TYPE, Client, Connect, canonical, ended, memfd, verified

# ---- a statement, signed and verified


def test_the_hello_names_limits_methods_and_a_nonce(connect: Connect) -> None:
    hello = connect().greet()
    assert hello is not None
    assert 1 in hello["versions"]
    assert 16 <= len(hello["nonce"]) <= 64
    assert {"sign.dsse", "session.bind", "daemon.health"} <= set(hello["methods"])
    assert "cosign" in hello["profiles"]
    assert set(hello["limits"]) >= {
        "frame_bytes", "inline_bytes", "payload_bytes", "in_flight", "batch_items", "subjects", "digests",
        "descriptors", "deadline_ms",
    }  # fmt: skip


def test_peer_credentials_bind_the_connection(client: Client) -> None:
    bound = client.result("session.bind", {})
    assert bound["peer"]["uid"] == os.getuid()
    assert bound["peer"]["pid"] == os.getpid()
    assert "signer.sign" in bound["scopes"]
    status = client.result("session.status", {})
    assert (status["principal"], status["tenant"]) == (bound["principal"], bound["tenant"])


def test_a_signed_statement_verifies_with_cryptography_alone(client: Client, sbom: dict[str, Any]) -> None:
    key = client.result("keys.describe", {"key": "file:default"})
    assert key["algorithm"] == "ES256"
    assert key["keyid"] == "sha256:" + hashlib.sha256(key["spki"]).hexdigest()
    assert load_pem_public_key(key["public_key_pem"].encode()) == load_der_public_key(key["spki"])

    result = client.result("sign.dsse", sbom)
    (bundle,) = result["bundles"]
    statement = verified(bundle, key["spki"])
    assert statement == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "artefact", "digest": {"sha256": ARTEFACT}}],
        "predicateType": SBOM_TYPE,
        "predicate": json.loads(SBOM),
    }
    envelope = json.loads(bundle)["dsseEnvelope"]
    assert result["statement_sha256"] == hashlib.sha256(base64.b64decode(envelope["payload"])).hexdigest()
    assert result["predicate_sha256"] == hashlib.sha256(SBOM).hexdigest()
    assert result["bundle_sha256"] == [hashlib.sha256(bundle).hexdigest()]
    assert result["envelope_sha256"] == hashlib.sha256(canonical(envelope)).hexdigest()
    assert [identity["keyid"] for identity in result["signing_identity"]] == [key["keyid"]]
    assert result["cosign_verifiable"] is True

    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    altered = json.loads(bundle)
    payload = base64.b64decode(envelope["payload"]).replace(b"artefact", b"artifact")
    altered["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    with pytest.raises(InvalidSignature):
        verified(json.dumps(altered).encode(), key["spki"])
    assert load_der_public_key(key["spki"]) != other


def test_the_receipt_is_about_the_decision(client: Client, sbom: dict[str, Any]) -> None:
    receipt = client.result("sign.dsse", sbom)["receipt"]
    assert receipt["decision_digest"] == hashlib.sha256(canonical(receipt["decision"])).hexdigest()
    assert receipt["decision"]["release"]["binding"] == "asserted"
    found = client.result("audit.query", {"filters": {"audit_id": receipt["audit_id"]}, "limit": 10})
    leaves = {record["index"]: record["leaf"] for record in found["records"]}
    assert receipt["leaf_hash"] == hashlib.sha256(b"\x00" + leaves[receipt["index"]]).hexdigest()
    assert json.loads(leaves[receipt["index"]])["decision"] == receipt["decision"]


def test_the_same_request_gives_the_same_bundle(client: Client, sbom: dict[str, Any]) -> None:
    first, second = client.result("sign.dsse", sbom), client.result("sign.dsse", sbom)
    assert first["bundles"] == second["bundles"]
    assert first["receipt"]["audit_id"] != second["receipt"]["audit_id"]


def test_a_batch_has_an_outcome_for_each_item_in_order(client: Client, sbom: dict[str, Any]) -> None:
    items = [sbom, {**sbom, "predicate": "text"}, {**sbom, "subject": []}, sbom]
    outcomes = client.result("sign.batch", {"items": items})["outcomes"]
    assert [outcome["index"] for outcome in outcomes] == [0, 1, 2, 3]
    assert [outcome.get("error", {}).get("code") for outcome in outcomes] == [
        None, "request.malformed", "statement.invalid", None,
    ]  # fmt: skip
    assert outcomes[0]["ok"]["bundles"] == outcomes[3]["ok"]["bundles"]


def test_many_requests_are_in_flight_and_frames_come_in_pieces(client: Client, sbom: dict[str, Any]) -> None:
    asked = {client.ask("sign.dsse", {**sbom, "subject": [{"name": f"a{n}", "digest": {"sha256": ARTEFACT}}]})
             for n in range(16)}  # fmt: skip
    client.put({"type": "request", "id": 1000, "method": "daemon.info", "params": {}}, piece=1)
    answers = [client.take() for _ in range(17)]
    assert {answer["id"] for answer in answers if answer} == {*asked, 1000}
    assert {answer["type"] for answer in answers if answer} == {"response"}


def test_documents_and_subjects_come_by_descriptor(client: Client, sbom: dict[str, Any], tmp_path: Path) -> None:
    artefact = tmp_path / "artefact"
    artefact.write_bytes(b"the artefact")
    document = memfd(SBOM)
    with artefact.open("rb") as file:
        params = {
            **sbom,
            "predicate": {"fd": 0, "size": len(SBOM)},
            "subject": [{"name": "artefact", "fd": 1, "size": 12}],
        }
        result = client.result("sign.dsse", params, [document, file.fileno()])
    os.close(document)
    assert result["bundles"] == client.result("sign.dsse", sbom)["bundles"]


def test_a_large_bin_of_a_result_comes_by_descriptor(connect: Connect, sbom: dict[str, Any]) -> None:
    client = connect()
    assert client.greet(inline_max=16) is not None
    (bundle,) = client.result("sign.dsse", sbom)["bundles"]
    descriptor = client.descriptors[bundle["fd"]]
    assert os.fstat(descriptor).st_size == bundle["size"]
    assert fcntl.fcntl(descriptor, 1034) & 0x000E == 0x000E  # F_GET_SEALS: shrink, grow, write
    content = os.pread(descriptor, bundle["size"], 0)
    assert json.loads(content)["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"


def test_keys_and_state_can_be_asked_for(client: Client) -> None:
    assert [key["status"] for key in client.result("keys.list", {})["keys"]] == ["active"]
    assert client.result("daemon.health", {})["ready"] is True
    info = client.result("daemon.info", {})
    assert {"name": "file", "up": True} in info["backends"] or any(backend["up"] for backend in info["backends"])
    assert client.result("entitlement.status", {})["plan"] == client.result("quota.status", {})["plan"]


# ---- what is refused while the connection stays


@pytest.mark.parametrize(
    ("change", "code", "details"),
    [
        ({"predicate": SBOM.decode()}, "request.malformed", {"reason": "wrong_type", "field": "predicate"}),
        ({"predicate": None}, "request.malformed", {"reason": "wrong_type", "field": "predicate"}),
        ({"options": {"timestamp": None}}, "request.malformed", {"field": "options.timestamp"}),
        ({"options": {"keys": ["file:default"] * 2}}, "request.malformed", {"reason": "repeated_value"}),
        ({"options": {"profile": "pades"}}, "request.unsupported", {"name": "pades"}),
        ({"options": {"later": True}}, "request.unsupported", {"name": "later"}),
        ({"later": True}, "request.unsupported", {"reason": "unknown_key", "name": "later"}),
        ({"subject": []}, "statement.invalid", {}),
        ({"subject": [{"name": "a", "digest": {"sha256": "00"}}]}, "statement.invalid", {}),
        ({"subject": [{"name": "a\n", "digest": {"sha256": ARTEFACT}}]}, "statement.invalid", {}),
        ({"subject": [{"name": "a", "digest": {"sha256": ARTEFACT}}] * 2}, "statement.invalid", {}),
        ({"predicate_type": "https://example.org/nobody-knows/v1"}, "predicate.unsupported", {}),
        ({"predicate": b"{"}, "predicate.invalid", {}),
        ({"predicate": b"[]"}, "predicate.invalid", {}),
        ({"predicate": b'\xef\xbb\xbf{"bomFormat":"CycloneDX"}'}, "predicate.invalid", {}),
        ({"predicate": SBOM[:-1] + b',"version":2}'}, "predicate.invalid", {}),
        ({"predicate": SBOM.replace(b"1}", b"9007199254740993}")}, "predicate.invalid", {}),
        ({"predicate": SBOM.replace(b"1.6", b"0.1")}, "predicate.invalid", {}),
        ({"scanner_image_digest": "sha256:" + "0" * 64}, "release.untrusted", {}),
        ({"options": {"keys": ["file:another"]}}, "key.not_found", {}),
    ],
)  # fmt: skip
def test_a_request_that_is_not_right_fails_alone(
    client: Client, sbom: dict[str, Any], change: dict[str, Any], code: str, details: dict[str, str]
) -> None:
    answer = client.error("sign.dsse", {**sbom, **change})
    assert answer["code"] == code
    assert answer["details"].items() >= details.items()
    assert client.result("sign.dsse", sbom)["bundles"]


def test_a_missing_scanner_digest_is_an_untrusted_release(client: Client, sbom: dict[str, Any]) -> None:
    del sbom["scanner_image_digest"]
    answer = client.error("sign.dsse", sbom)
    assert (answer["code"], answer["details"]["reason"]) == ("release.untrusted", "digest_missing")


def test_an_unknown_method_and_an_unknown_type(client: Client) -> None:
    answer = client.error("sign.everything", {})
    assert (answer["code"], answer["details"]["name"]) == ("request.unsupported", "sign.everything")
    client.put({"type": "subscribe", "id": 77})
    unknown = client.take()
    assert unknown is not None
    assert (unknown["code"], unknown["details"]["name"]) == ("request.unsupported", "subscribe")
    assert client.result("daemon.health", {})["ready"] is True


@pytest.mark.parametrize("deadline", [0, -1])
def test_a_deadline_without_time(client: Client, deadline: int) -> None:
    assert client.error("daemon.info", {}, deadline_ms=deadline)["code"] == "request.malformed"
    assert client.result("daemon.info", {}, deadline_ms=1 << 40)


def test_a_cancel_of_what_is_not_in_flight_is_ignored(client: Client) -> None:
    client.put({"type": "cancel", "id": 4242})
    assert client.result("daemon.health", {})["ready"] is True


def test_a_cancelled_request_is_answered(client: Client, sbom: dict[str, Any]) -> None:
    request_id = client.ask("sign.dsse", sbom)
    client.put({"type": "cancel", "id": request_id})
    answer = client.take()
    assert answer is not None
    assert answer["id"] == request_id
    assert answer["type"] == "response" or answer["code"] == "request.cancelled"


@pytest.mark.parametrize("kind", ["unsealed", "lying", "fifo", "surplus", "missing", "twice"])
def test_descriptors_that_are_not_right(client: Client, sbom: dict[str, Any], kind: str) -> None:
    size = len(SBOM)
    read_end, write_end = os.pipe()
    opened = [memfd(SBOM, sealed=kind != "unsealed"), read_end, write_end]
    params = {**sbom, "predicate": {"fd": 0, "size": size + (kind == "lying")}}
    sent = {"fifo": [read_end], "surplus": opened[:2], "missing": []}.get(kind, opened[:1])
    if kind == "twice":
        params["subject"] = [{"name": "artefact", "fd": 0, "size": size}]
    answer = client.error("sign.dsse", params, sent)
    for descriptor in opened:
        os.close(descriptor)
    assert answer["code"] == "request.malformed"
    assert client.result("sign.dsse", sbom)["bundles"]


# ---- what ends the connection


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"type": "request", "id": 0, "method": "daemon.health", "params": {}}, "out_of_range"),
        ({"type": "request", "id": 1.0, "method": "daemon.health", "params": {}}, "wrong_type"),
        ({"id": 1, "method": "daemon.health", "params": {}}, "missing_field"),
        ({"type": "hello", "versions": [1], "software": "again"}, "second_hello"),
        ({"type": "response", "id": 1, "result": {}}, "not_from_this_side"),
        ({"type": "goaway", "reason": "bored"}, "not_from_this_side"),
    ],
)
def test_a_breach_of_the_protocol(
    client: Client, connect: Connect, sbom: dict[str, Any], message: dict[str, Any], reason: str
) -> None:
    client.put(message)
    last = ended(client)
    assert (last["code"], last["details"]["reason"]) == ("request.malformed", reason)
    other = connect()
    assert other.greet() is not None
    assert other.result("sign.dsse", sbom)["bundles"]


def test_an_id_in_flight_twice(client: Client, sbom: dict[str, Any]) -> None:
    request = {"type": "request", "id": 5, "method": "sign.dsse", "params": sbom}
    body = msgpack.packb(request)
    frame = len(body).to_bytes(4, "big") + body
    client.socket.sendall(frame + frame)
    seen = []
    while (message := client.take()) is not None:
        seen.append(message)
    assert seen[-1]["code"] == "request.malformed"
    assert seen[-1]["details"]["reason"] == "id_in_flight"


def test_bytes_that_are_no_message(client: Client) -> None:
    client.socket.sendall(b"\x00\x00\x00\x01\xc1")
    assert ended(client)["details"]["reason"] == "not_msgpack"


def test_a_frame_above_the_limit(client: Client) -> None:
    client.socket.sendall(((4 << 20) + 1).to_bytes(4, "big"))
    assert ended(client)["code"] == "request.too_large"


def test_a_first_message_that_is_no_hello(connect: Connect) -> None:
    client = connect()
    client.ask("daemon.health", {})
    assert ended(client)["details"]["reason"] == "hello_expected"


def test_no_common_version(connect: Connect) -> None:
    client = connect()
    client.put({"type": "hello", "versions": [2, 0], "software": "from-the-future"})
    assert ended(client)["code"] == "request.unsupported"
    assert connect().greet(versions=(2, 1)) is not None
