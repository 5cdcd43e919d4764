"""CycloneDX by the official schemas: what they allow, what they refuse, at what cost."""

import json
import subprocess
import sys
import time

import pytest

from documents.cyclonedx import bom
from outside.parts import VECTORS
from signerd.errors import Refusal
from signerd_predicates_intoto.cyclonedx import VERSIONS, check_cyclonedx


def refused(document):
    with pytest.raises(Refusal) as caught:
        check_cyclonedx(document)
    assert caught.value.code == "predicate.invalid"
    return caught.value


@pytest.mark.parametrize("version", VERSIONS)
def test_a_document_of_each_version_is_accepted(version):
    check_cyclonedx(bom(version))


@pytest.mark.needs("vectors")
def test_a_document_of_a_real_tool_is_accepted():
    path = VECTORS / "cosign" / "test" / "testdata" / "bom-go-mod.cyclonedx.json"
    check_cyclonedx(json.loads(path.read_bytes()))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("pointer", "change"),
    [
        ("/bomFormat", {"bomFormat": "SPDX"}),
        ("/serialNumber", {"serialNumber": "urn:uuid:1"}),
        ("/version", {"version": "1"}),
        ("/metadata/timestamp", {"metadata": {"timestamp": "yesterday"}}),
        ("/components/0/type", {"components": [{"type": "idea", "name": "x", "version": "1"}]}),
        ("/components/0", {"components": [{"type": "library", "version": "1"}]}),
        (
            "/components/0/licenses/0/license/id",
            {
                "components": [
                    {
                        "type": "library",
                        "name": "x",
                        "version": "1",
                        "licenses": [{"license": {"id": "NONE-SUCH"}}],
                    }
                ]
            },
        ),
        (
            "/components/0/externalReferences/0/url",
            {
                "components": [
                    {
                        "type": "library",
                        "name": "x",
                        "version": "1",
                        "externalReferences": [{"type": "website", "url": "https://a b"}],
                    }
                ]
            },
        ),
    ],
)
def test_a_fault_is_refused_with_its_pointer(version, pointer, change):
    if version == "1.2" and pointer.endswith("/url"):  # its schema gives the URL no format
        check_cyclonedx({**bom(version), **change})
        return
    refusal = refused({**bom(version), **change})
    assert refusal.reason == "schema_violation"
    assert refusal.details["pointer"].startswith(
        pointer.rsplit("/", 1)[0] if "licenses" in pointer else pointer
    )


@pytest.mark.parametrize("version", [None, 1.6, "1.1", "1.8", "2.0", "", "../1.6", ["1.6"]])
def test_an_unknown_version_is_refused(version):
    refusal = refused({**bom("1.6"), "specVersion": version})
    assert refusal.details == {"reason": "version_unsupported", "pointer": "/specVersion"}


def test_a_text_repeats_little_of_the_document_and_nothing_that_does_not_print():
    refusal = refused({**bom("1.6"), "\x1b[31m" + "k" * 5000: 1})
    assert "\x1b" not in refusal.public
    assert "k" * 81 not in refusal.public
    refusal = refused({**bom("1.6"), "specVersion": "\x1b[31m" + "1" * 5000})
    assert "\x1b" not in refusal.public
    assert "1" * 81 not in refusal.public


@pytest.mark.parametrize("version", VERSIONS)
def test_a_small_document_is_checked_in_microseconds(version):
    document = bom(version, 5)
    check_cyclonedx(document)
    started = time.perf_counter()
    for _ in range(500):
        check_cyclonedx(document)
    assert (time.perf_counter() - started) / 500 < 200e-6


@pytest.mark.parametrize("version", VERSIONS)
def test_nesting_costs_no_more_than_its_size(version):
    component = {"type": "library", "name": "x", "version": "1"}
    service = {"name": "s"}
    signature = {"algorithm": "ES256", "value": "x"}
    for _ in range(95):
        component = {"type": "library", "name": "x", "version": "1", "components": [component]}
        service = {"name": "s", "services": [service]}
        signature = {"signers": [signature]}
    started = time.perf_counter()
    check_cyclonedx({**bom(version), "components": [component], "services": [service]})
    if version not in {"1.2", "1.3"}:  # their schemas do not know signatures, and allow other properties
        refused({**bom(version), "signature": signature})
    assert time.perf_counter() - started < 5


MEASURED = """
import resource, sys, json
from signerd_predicates_intoto.cyclonedx import check_cyclonedx
from documents.cyclonedx import bom
from signerd.errors import Refusal
text = json.dumps(bom("1.6", 40_000)).encode()
document = json.loads(text)
if sys.argv[1] == "unknown": document["unknown"] = document["components"]
if sys.argv[1] == "item": document["components"][-1]["hashes"][0]["content"] = "zz"
check_cyclonedx(bom("1.6"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
try:
    check_cyclonedx(document)
except Refusal as refusal:
    print(refusal.details["pointer"], file=sys.stderr)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / len(text))
"""


@pytest.mark.parametrize(
    ("fault", "pointer"), [("none", ""), ("unknown", ""), ("item", "/components/39999/hashes/0/content")]
)
def test_neither_verdict_on_a_large_document_takes_much_memory(fault, pointer):
    # An error of the validator holds copies: asked about the whole document it took fifty times its size.
    run = subprocess.run(
        [sys.executable, "-c", MEASURED, fault],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert float(run.stdout) < 2, "times the document's size, beside the decoded document"
    assert run.stderr.strip() == pointer
