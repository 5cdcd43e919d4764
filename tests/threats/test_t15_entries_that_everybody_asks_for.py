"""T15: a tenant asks for the entries of a record with many large bundles, over and over.

Each answer brings all bundles together anew, which takes the sealer a second. So a tenant asks for a few at once, and
whoever signs does not wait for any: a large document, hashed beside the loop too, is signed meanwhile.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from running.callers import request
from running.client import Client, Connect
from running.daemon import Running, running
from running.entries import MANY, logged, many_keys, signed_by_all
from running.large import large_sbom
from signerd.sealer.entries import MOST_ASKED
from signerd_client import Signer

FLOOD = 60
"""A minute of the sealer's work, where all of them are read: it was taken for hung, and killed."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    base = tmp_path_factory.mktemp("entries")
    with running(base, config=many_keys(base)) as started:
        yield started


def test_whoever_asks_without_end_holds_up_nobody(daemon: Running, connect: Connect, client: Client) -> None:
    sealer = daemon.child("sealer")
    with Signer.connect(daemon.socket) as signer:
        audit_id = signed_by_all(signer, 600_000).result.receipt.audit_id
        logged(daemon, audit_id)
        flooding = connect()
        flooding.greet()
        for _ in range(FLOOD):
            flooding.ask("transparency.entry", {"audit_id": audit_id})
        large = dataclasses.replace(request(1), predicate=large_sbom(3_000_000))
        assert signer.sign_dsse(large, deadline_s=60).result.bundle_sha256
    answers: list[dict[str, Any]] = [flooding.take() or {} for _ in range(FLOOD)]
    refused = [answer for answer in answers if answer["type"] == "error"]
    assert {(each["code"], each["details"]["reason"]) for each in refused} == {("daemon.overloaded", "entries_asked")}
    assert MOST_ASKED <= FLOOD - len(refused) < FLOOD
    assert all(len(each["result"]["bundles"]) == MANY for each in answers if each["type"] == "response")
    assert daemon.child("sealer") == sealer, daemon.said
