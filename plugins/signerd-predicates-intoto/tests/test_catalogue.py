"""Every type of the catalogue: what it accepts, what it refuses, what it needs."""

import json

import pytest

from documents import cyclonedx, openvex, spdx2, spdx3
from documents.mutations import mutations
from documents.verdicts import accepts, disagreements, oracle
from outside.parts import VECTORS
from signerd.errors import Refusal
from signerd_predicates_intoto.catalogue import predicate_types

TYPES = {one.names[0]: one for one in predicate_types()}
DIGEST = {"sha256": "0" * 64}
TIME = "2024-01-01T00:00:00Z"
BUILDER = {"id": "https://builder.example.com/v1"}
SCAN = {"scanStartedOn": TIME, "scanFinishedOn": TIME}
FOUND = {"id": "CVE-2024-1", "severity": [{"method": "nvd", "score": "medium"}]}
SCANNER = {"uri": "pkg:github/x/y@1", "version": "1", "db": {"lastUpdate": TIME}, "result": [FOUND]}

GOOD = {
    "cyclonedx": cyclonedx.bom("1.6"),
    "spdx": spdx2.full("2.3"),
    "spdx-2.3": spdx2.full("2.3"),
    "spdx-3": spdx3.graph(spdx3.element("Agent")),
    "openvex": openvex.full(),
    "openvex-0.2.0": openvex.small(),
    "slsaprovenance1": {
        "buildDefinition": {
            "buildType": "https://example.com/t",
            "externalParameters": {},
            "resolvedDependencies": [{"uri": "a:b"}],
        },
        "runDetails": {"builder": BUILDER, "metadata": {"startedOn": TIME}},
    },
    "slsaprovenance": {
        "builder": BUILDER,
        "buildType": "https://example.com/t",
        "metadata": None,
        "materials": [{"uri": "git+https://example.com", "digest": {"sha1": "0" * 40}}],
    },
    "vsa": {
        "verifier": BUILDER,
        "timeVerified": TIME,
        "resourceUri": "pkg:a/b",
        "policy": {"uri": "https://p"},
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
    },
    "svr": {"verifier": {**BUILDER, "policies": []}, "timeCreated": TIME, "properties": ["ORG_X"]},
    "scai": {"attributes": [{"attribute": "WITH_STACK_PROTECTION", "evidence": {"digest": DIGEST}}]},
    "runtime-trace": {
        "monitor": {"type": "https://m"},
        "monitoredProcess": {"hostID": "https://h", "type": "https://t", "event": "e"},
        "monitorLog": {"process": [{}]},
    },
    "test-result": {"result": "PASSED", "configuration": [{"digest": DIGEST}]},
    "vulns": {"scanner": SCANNER, "metadata": SCAN},
    "vulns-v0.1": {"scanner": SCANNER, "metadata": SCAN},
    "vuln": {
        "invocation": {"parameters": None, "uri": "", "event_id": "", "builder.id": ""},
        "scanner": {"uri": "", "version": "", "db": {"uri": "", "version": ""}, "result": None},
        "metadata": SCAN,
    },
    "link": {"name": "build", "materials": {"a.c": DIGEST}, "command": ["cc"]},
    "link-v0.3": {"name": "build", "materials": [{"name": "a.c", "digest": DIGEST}], "command": ["cc"]},
    "release": {"purl": "pkg:pypi/urllib3@2.1.0"},
    "reference": {
        "attester": BUILDER,
        "references": [{"downloadLocation": "https://d", "mediaType": "a/b", "digest": DIGEST}],
    },
    "custom": {"Data": "anything", "Timestamp": TIME},
}

BAD = {
    "cyclonedx": {"bomFormat": "SPDX"},
    "spdx": {"packages": {}},
    "spdx-2.3": {"spdxVersion": "SPDX-3.0.1"},
    "spdx-3": {"@graph": [{"type": "Agent"}]},
    "openvex": {"statements": []},
    "openvex-0.2.0": {"version": 0},
    "slsaprovenance1": {"runDetails": {}},
    "slsaprovenance": {"builder": {"id": "no uri"}},
    "vsa": {"verificationResult": "MAYBE"},
    "svr": {"verifier": BUILDER},
    "scai": {"attributes": []},
    "runtime-trace": {"monitorLog": {}},
    "test-result": {"result": "passed"},
    "vulns": {"scanner": {**SCANNER, "result": [{"id": "CVE-2024-1"}]}},
    "vulns-v0.1": {"scanner": {**SCANNER, "result": "none"}},
    "vuln": {"metadata": {"scanStartedOn": "yesterday", "scanFinishedOn": TIME}},
    "link": {"materials": [{"name": "a.c", "digest": DIGEST}]},
    "link-v0.3": {"materials": {"a.c": DIGEST}},
    "release": {"purl": "pkg:pypi/urllib3"},
    "reference": {"references": [{"digest": DIGEST}]},
    "custom": {"Timestamp": 1},
}


def test_the_tables_name_every_type():
    assert GOOD.keys() == BAD.keys() == TYPES.keys()


@pytest.mark.parametrize("name", TYPES)
def test_each_type_accepts_a_good_document_and_refuses_bad_ones(name):
    judged = TYPES[name]
    before = json.dumps(GOOD[name])
    judged.check(GOOD[name])
    assert json.dumps(GOOD[name]) == before, "a check never changes what will be signed"
    for document in ({}, {"x": 1}, {**GOOD[name], **BAD[name]}):
        with pytest.raises(Refusal) as caught:
            judged.check(document)
        assert caught.value.code == "predicate.invalid"
        assert caught.value.reason in {"schema_violation", "version_unsupported"}
        assert isinstance(caught.value.details["pointer"], str)


@pytest.mark.parametrize("name", TYPES)
def test_no_document_of_another_format_passes(name):
    formats = {"cyclonedx", "spdx", "spdx-3", "openvex"} - {
        name,
        name.removesuffix("-2.3"),
        name.removesuffix("-0.2.0"),
    }
    if name == "spdx":
        formats.discard("spdx-3")
    for other in formats:
        assert not accepts(TYPES[name].check, GOOD[other]), f"{name} accepts a document of {other}"


@pytest.mark.parametrize("name", TYPES)
def test_no_type_states_a_policy(name):
    assert not TYPES[name].needs_policy
    assert TYPES[name].policy(GOOD[name]) is None


def test_the_short_names_of_cosign_mean_what_they_mean_there():
    by_name = {name: one.uri for one in TYPES.values() for name in one.names}
    assert {
        "custom": "https://cosign.sigstore.dev/attestation/v1",
        "cyclonedx": "https://cyclonedx.org/bom",
        "link": "https://in-toto.io/Link/v1",
        "openvex": "https://openvex.dev/ns",
        "slsaprovenance": "https://slsa.dev/provenance/v0.2",
        "slsaprovenance02": "https://slsa.dev/provenance/v0.2",
        "slsaprovenance1": "https://slsa.dev/provenance/v1",
        "spdx": "https://spdx.dev/Document",
        "spdxjson": "https://spdx.dev/Document",
        "vuln": "https://cosign.sigstore.dev/attestation/vuln/v1",
    }.items() <= by_name.items()


@pytest.mark.needs("vectors")
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("slsaprovenance1", "sigstore-python/test-assets/integration/attest/slsa_predicate_v1_0.json"),
        ("slsaprovenance", "sigstore-python/test-assets/integration/attest/slsa_predicate_v0_2.json"),
        ("vuln", "cosign/test/testdata/attestations/vuln-predicate.json"),
    ],
)
def test_predicates_of_other_projects_are_accepted(name, path):
    TYPES[name].check(json.loads((VECTORS / path).read_bytes()))


@pytest.mark.needs("vectors")
def test_openvex_is_judged_as_by_the_official_schema():
    check, judge = TYPES["openvex"].check, oracle("openvex-0.2.0")
    bases = [openvex.full(), openvex.small()]
    tried = [change for base in bases for change in mutations(base)]
    tried += [(json.dumps(one), one) for one in openvex.edges()]
    tried += [
        (f"{field} = {value}", {**openvex.small(), field: value})
        for field in ("@context", "@id", "timestamp", "last_updated")
        for value in (
            "https://openvex.dev/ns/v9",
            "https://e.com",
            "2020-02-30T00:00:00Z",
            "2020-01-01",
            "é://x",
            "../x",
        )
    ]
    assert len(tried) > 1500
    found, accepted = disagreements(check, judge, tried)
    assert not found, (len(found), found[:20])
    assert accepted > 100
