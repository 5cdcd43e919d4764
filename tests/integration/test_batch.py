"""``sign.batch``: an outcome for each item, whatever becomes of the others, in one frame."""

import hashlib
import json
import os
import signal
from typing import Any

import pytest

from running.client import SBOM, Client, Connect, memfd, verified
from running.configured import open_descriptors, records, until
from running.daemon import Running
from running.large import large_sbom


def item(sbom: dict[str, Any], number: int, **more: Any) -> dict[str, Any]:
    digest = hashlib.sha256(b"%d" % number).hexdigest()
    return {**sbom, "subject": [{"name": f"artefact-{number}", "digest": {"sha256": digest}}], **more}


def whole(client: Client, value: bytes | dict[str, int]) -> bytes:
    if isinstance(value, bytes):
        return value
    return os.pread(client.descriptors[value["fd"]], value["size"], 0)


def codes(outcomes: list[dict[str, Any]]) -> list[str | None]:
    assert [outcome["index"] for outcome in outcomes] == list(range(len(outcomes)))
    return [outcome.get("error", {}).get("code") for outcome in outcomes]


def test_256_items_are_256_statements_with_a_record_each(daemon: Running, client: Client, sbom: dict[str, Any]) -> None:
    known = set(records(daemon))
    spki = client.result("keys.describe", {"key": "file:default"})["spki"]
    outcomes = client.result("sign.batch", {"items": [item(sbom, n) for n in range(256)]})["outcomes"]
    assert codes(outcomes) == [None] * 256
    names = [verified(outcome["ok"]["bundles"][0], spki)["subject"][0]["name"] for outcome in outcomes]
    assert names == [f"artefact-{number}" for number in range(256)]
    ids = {outcome["ok"]["receipt"]["audit_id"] for outcome in outcomes}
    assert len(ids) == 256
    until(lambda: set(records(daemon)) - known == ids)
    until(lambda: all(records(daemon)[audit_id] == ["signed"] for audit_id in ids))


def test_items_fail_alone_each_with_its_own_reason(daemon: Running, client: Client, sbom: dict[str, Any]) -> None:
    outcomes = client.result(
        "sign.batch",
        {
            "items": [
                item(sbom, 0),
                5,
                None,
                {},
                item(sbom, 4, predicate="text"),
                item(sbom, 5, later=True),
                item(sbom, 6, predicate=b"{"),
                item(sbom, 7, predicate_type="https://example.org/unknown"),
                item(sbom, 8, scanner_image_digest="sha256:" + "0" * 64),
                item(sbom, 9, options={"keys": ["file:nobody"]}),
                item(sbom, 10),
            ]
        },
    )["outcomes"]
    assert codes(outcomes) == [
        None, "request.malformed", "request.malformed", "request.malformed", "request.malformed",
        "request.unsupported", "predicate.invalid", "predicate.unsupported", "release.untrusted",
        "key.not_found", None,
    ]  # fmt: skip
    assert all(outcome["error"]["details"]["reason"] for outcome in outcomes if "error" in outcome)
    until(lambda: all(len(found) == 1 for found in records(daemon).values()))


@pytest.mark.parametrize("params", [{}, {"items": {}}, {"items": [], "later": 1}, {"items": None}, []])
def test_a_batch_that_is_none_is_refused_as_one(client: Client, params: Any) -> None:
    answer = client.error("sign.batch", params)
    assert answer["code"] in {"request.malformed", "request.unsupported"}
    assert client.result("daemon.health", {})["ready"] is True


def test_the_batchs_options_are_each_items_defaults(client: Client, sbom: dict[str, Any]) -> None:
    items = [item(sbom, 0), item(sbom, 1, options={"include": []}), item(sbom, 2, options={"mode": "keyful"})]
    outcomes = client.result("sign.batch", {"items": items, "options": {"include": ["envelope"]}})["outcomes"]
    assert [("envelope" in outcome["ok"]) for outcome in outcomes] == [True, False, True]
    refused = client.result("sign.batch", {"items": items[:1], "options": {"timestamp": True}})["outcomes"]
    assert codes(refused) == ["request.unsupported"]


def test_documents_of_several_items_come_with_one_frame(client: Client, sbom: dict[str, Any]) -> None:
    text = large_sbom(300_000)
    sent = [memfd(text), memfd(SBOM), memfd(b"{")]
    items = [
        item(sbom, 0, predicate={"fd": 0, "size": len(text)}),
        item(sbom, 1),
        item(sbom, 2, predicate={"fd": 2, "size": 1}),
        item(sbom, 3, predicate={"fd": 1, "size": len(SBOM)}),
    ]
    outcomes = client.result("sign.batch", {"items": items}, sent)["outcomes"]
    for descriptor in sent:
        os.close(descriptor)
    assert codes(outcomes) == [None, None, "predicate.invalid", None]
    assert json.loads(whole(client, outcomes[0]["ok"]["bundles"][0]))["dsseEnvelope"]["payload"]


@pytest.mark.parametrize("inline_max", [0, 1 << 20, 1 << 40])
def test_an_answer_never_outgrows_a_frame_nor_a_message(
    daemon: Running, connect: Connect, sbom: dict[str, Any], inline_max: int
) -> None:
    """256 bundles of 20 KB are above a frame's 4 MiB, and more values than a message carries descriptors."""
    client = connect()
    client.greet(inline_max=inline_max)
    before = open_descriptors(daemon.pid)
    text = large_sbom(11_000)
    items = [item(sbom, number, predicate=text) for number in range(256)]
    outcomes = client.result("sign.batch", {"items": items})["outcomes"]
    assert codes(outcomes) == [None] * 256
    bundles = [whole(client, outcome["ok"]["bundles"][0]) for outcome in outcomes]
    digests = [outcome["ok"]["bundle_sha256"] for outcome in outcomes]
    assert [[hashlib.sha256(bundle).hexdigest()] for bundle in bundles] == digests
    until(lambda: open_descriptors(daemon.pid) <= before)


def test_items_that_the_answer_has_no_room_for_are_told_so_and_recorded(
    daemon: Running, client: Client, sbom: dict[str, Any]
) -> None:
    before = open_descriptors(daemon.pid)
    known = set(records(daemon))
    text = large_sbom(14_000)
    items = [item(sbom, number, predicate=text) for number in range(256)]
    params = {"items": items, "options": {"include": ["envelope"]}}
    outcomes = client.result("sign.batch", params)["outcomes"]
    given = [outcome for outcome in outcomes if "ok" in outcome]
    left_out = [outcome["error"] for outcome in outcomes if "error" in outcome]
    assert given
    assert left_out
    assert {error["code"] for error in left_out} == {"request.too_large"}
    assert {error["details"]["reason"] for error in left_out} == {"answer_too_large"}

    def ends() -> list[list[str]]:
        return sorted(found for audit_id, found in records(daemon).items() if audit_id not in known)

    expected = [["signed"]] * len(given) + [["signed_undelivered"]] * len(left_out)
    until(lambda: ends() == expected)
    until(lambda: open_descriptors(daemon.pid) <= before)


@pytest.mark.parametrize("cause", ["cancel", "deadline"])
def test_a_batch_is_cut_short_as_one(daemon: Running, client: Client, sbom: dict[str, Any], cause: str) -> None:
    sealer = daemon.child("sealer")
    os.kill(sealer, signal.SIGSTOP)
    more = {"deadline_ms": 100} if cause == "deadline" else {}
    asked = client.ask("sign.batch", {"items": [item(sbom, number) for number in range(5)]}, (), **more)
    if cause == "cancel":
        client.put({"type": "cancel", "id": asked})
    answer = client.take()
    os.kill(sealer, signal.SIGCONT)
    assert answer is not None
    assert answer["type"] == "response"
    code = "request.cancelled" if cause == "cancel" else "request.deadline"
    assert codes(answer["result"]["outcomes"]) == [code] * 5
    until(lambda: all(len(found) == 1 for found in records(daemon).values()))


def test_a_batch_counts_as_many_signatures(daemon: Running, client: Client, sbom: dict[str, Any]) -> None:
    """The plan's concurrency is 256: of two whole batches at once, some items of the second are refused."""
    sealer = daemon.child("sealer")
    os.kill(sealer, signal.SIGSTOP)
    items = [item(sbom, number) for number in range(256)]
    first = client.ask("sign.batch", {"items": items})
    second = client.ask("sign.batch", {"items": items[:3]})
    assert client.call("daemon.health", {})["result"]["ready"] is True  # both were taken by now
    os.kill(sealer, signal.SIGCONT)
    answers = {answer["id"]: answer["result"]["outcomes"] for answer in (client.take(), client.take()) if answer}
    assert codes(answers[first]) == [None] * 256
    assert codes(answers[second]) == ["quota.concurrency"] * 3
