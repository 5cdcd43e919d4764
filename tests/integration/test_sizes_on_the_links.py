"""What is allowed in a caller's frame fits the links behind it, or is refused: no caller takes the sealer from the
others by size alone (T21)."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from running.client import ARTEFACT, Client
from running.daemon import Running

MIB = 1 << 20
SLSA = "https://slsa.dev/provenance/v1"
"""A type that takes any parameters, and needs no release."""


def provenance(parameters: str) -> bytes:
    before = '{"buildDefinition":{"buildType":"https://example.org/build","externalParameters":{"a":'
    return f'{before}{parameters}}}}},"runDetails":{{"builder":{{"id":"https://example.org/b"}}}}}}'.encode()


@pytest.fixture(autouse=True)
def sealer_lives(daemon: Running) -> Iterator[None]:
    before = daemon.child("sealer")
    yield
    assert daemon.child("sealer") == before, daemon.said
    assert "sealer" not in daemon.said


def params(predicate: bytes = b"", **more: Any) -> dict[str, Any]:
    subject = [{"name": "artefact", "digest": {"sha256": ARTEFACT}}]
    return {"subject": subject, "predicate_type": SLSA, "predicate": predicate or provenance("1"), **more}


def test_a_statement_just_above_what_goes_inline(client: Client) -> None:
    for size in range(262_144 - 400, 262_144, 50):
        text = provenance('"%s"')
        assert client.result("sign.dsse", params(text % (b"x" * (size - len(text) + 2))))["bundles"]


def test_numbers_that_the_canonical_form_writes_longer(client: Client) -> None:
    document = provenance(f"[{','.join(['1e15'] * 40_000)}]")
    assert len(document) < 262_144
    assert len(client.result("sign.dsse", params(document))["bundles"][0]) > 262_144 * 4 // 3


def test_a_batch_of_documents_each_with_bundle_and_envelope(client: Client) -> None:
    items = [
        params(provenance(json.dumps("x" * 250_000)), subject=[{"name": f"a{n}", "digest": {"sha256": f"{n:064x}"}}])
        for n in range(15)
    ]
    result = client.result("sign.batch", {"items": items, "options": {"include": ["envelope"]}})
    assert all(outcome["ok"]["envelope"] for outcome in result["outcomes"])


def test_a_trace_that_fills_the_frame(client: Client, daemon: Running) -> None:
    assert client.result("sign.dsse", params(), traceparent="x" * (4 * MIB - 1000))["bundles"]
    assert max(len(leaf["leaf"]) for leaf in daemon.leaves()) < 4096  # type: ignore[arg-type]  # bytes


def test_many_subjects_with_a_small_document(client: Client) -> None:
    subjects = [{"name": f"n{n}" + "x" * 1000, "digest": {"sha256": f"{n:064x}"}} for n in range(1000)]
    assert client.result("sign.dsse", params(subject=subjects))["bundles"]


@pytest.mark.parametrize("name", ["x" * (4 * MIB - 2000), '"' * (3 * MIB)])
def test_a_name_that_fits_no_call_of_the_document_worker(client: Client, name: str) -> None:
    subject = [{"name": name, "digest": {"sha256": ARTEFACT}}]
    error = client.error("sign.dsse", params(subject=subject))
    assert (error["code"], error["details"]["reason"]) == ("request.too_large", "subjects_too_large")
