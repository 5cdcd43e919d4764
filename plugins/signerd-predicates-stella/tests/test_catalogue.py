"""Every stella type: the least fields of each, and what is refused without them."""

import subprocess
import sys

import pytest

from signerd.errors import Refusal
from signerd_predicates_stella.catalogue import NAMES, predicate_types

TYPES = {one.name: one for one in predicate_types("uri")}
DIGEST = f"sha256:{'0' * 64}"
DOCUMENT = {"mediaType": "application/vnd.cyclonedx+json", "digest": DIGEST}
PROOF = {"rootHash": "00", "hashes": [], "treeSize": 1, "checkpoint": "log\n1\n"}

GOOD = {
    "sbom": {
        "format": "CycloneDX",
        "specVersion": "1.6",
        "document": DOCUMENT,
        "generator": {"name": "g", "version": "1"},
    },
    "vex": {"format": "OpenVEX", "document": DOCUMENT},
    "report": {
        "report": {"format": "json", "digest": DIGEST},
        "policy": {"digest": DIGEST, "viewSet": "default"},
    },
    "promotion": {
        "subject": [{"name": "registry.example.com/api", "digest": {"sha256": "0" * 64}}],
        "materials": [
            {
                "role": "sbom",
                "algo": "sha256",
                "digest": "0" * 64,
                "format": "CycloneDX-1.6",
                "uri": "oci://r/s",
            },
        ],
        "promotion": {
            "from": "staging",
            "to": "prod",
            "actor": "a",
            "timestamp": "2024-01-01T00:00:00Z",
            "pipeline": "p",
        },
    },
    "replay": {
        "schemaVersion": "1.0",
        "scan": {
            "id": "scan-7",
            "time": "2024-01-01T00:00:00Z",
            "mode": "record",
            "scannerVersion": "2024.1",
            "cryptoProfile": "FIPS-140-3+GOST-R-34-10-2012",
        },
        "subject": {
            "ociDigest": DIGEST,
            "layers": [{"layerDigest": DIGEST, "merkleRoot": "0" * 64, "leafCount": 3}],
        },
        "inputs": {
            "feeds": [{"name": "nvd", "snapshotHash": "0" * 64, "snapshotTime": "2024-01-01T00:00:00Z"}],
        },
    },
}


def without(document, path):
    """The document without one field; a number in the path is an index of an array."""
    step, *rest = path
    copied = document.copy()
    if rest:
        copied[step] = without(document[step], rest)
    else:
        del copied[step]
    return copied


def fields(document, path=()):
    inner = document.items() if isinstance(document, dict) else enumerate(document)
    for step, value in inner:
        if isinstance(document, dict):
            yield (*path, step)
        if isinstance(value, dict | list):
            yield from fields(value, (*path, step))


def refused(name, document):
    with pytest.raises(Refusal) as caught:
        TYPES[name].check(document)
    assert caught.value.code == "predicate.invalid"
    return caught.value


def test_the_table_names_every_type():
    assert GOOD.keys() == TYPES.keys() == NAMES.keys()


@pytest.mark.parametrize("name", NAMES)
def test_the_least_fields_suffice_and_more_are_allowed(name):
    TYPES[name].check(GOOD[name])
    TYPES[name].check({**GOOD[name], "more": {"of": ["it"]}})


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_object_is_refused(name):
    assert refused(name, {}).details == {"reason": "schema_violation", "pointer": ""}


@pytest.mark.parametrize(("name", "path"), [(name, path) for name in NAMES for path in fields(GOOD[name])])
def test_without_any_of_them_it_is_refused(name, path):
    refusal = refused(name, without(GOOD[name], path))
    assert refusal.details["pointer"] == "".join(f"/{step}" for step in path[: len(path) - 1])


@pytest.mark.parametrize(
    ("name", "change", "pointer"),
    [
        ("sbom", {"document": {**DOCUMENT, "digest": "sha256:ABC"}}, "/document/digest"),
        ("sbom", {"document": {**DOCUMENT, "digest": f"md5:{'0' * 32}"}}, "/document/digest"),
        ("sbom", {"format": ""}, "/format"),
        ("vex", {"document": {**DOCUMENT, "mediaType": "json"}}, "/document/mediaType"),
        ("report", {"policy": {"digest": DIGEST, "viewSet": ""}}, "/policy/viewSet"),
        (
            "promotion",
            {"materials": [{**GOOD["promotion"]["materials"][0], "role": "note"}]},
            "/materials/0/role",
        ),
        ("promotion", {"materials": []}, "/materials"),
        ("replay", {"schemaVersion": "2.0"}, "/schemaVersion"),
        ("replay", {"scan": {**GOOD["replay"]["scan"], "time": "now"}}, "/scan/time"),
        ("replay", {"subject": {"ociDigest": DIGEST, "layers": []}}, "/subject/layers"),
        ("replay", {"subject": {**GOOD["replay"]["subject"], "ociDigest": "latest"}}, "/subject/ociDigest"),
        ("promotion", {"subject": []}, "/subject"),
        ("promotion", {"rekor": {"uuid": "u", "logIndex": -1, "inclusionProof": PROOF}}, "/rekor/logIndex"),
        ("promotion", {"rekor": {"uuid": "u", "logIndex": 1, "inclusionProof": {}}}, "/rekor/inclusionProof"),
        ("promotion", {"attestation": {"bundle_sha256": "0"}}, "/attestation/bundle_sha256"),
        (
            "promotion",
            {"promotion": {**GOOD["promotion"]["promotion"], "timestamp": "now"}},
            "/promotion/timestamp",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_pointer(name, change, pointer):
    assert refused(name, {**GOOD[name], **change}).details["pointer"] == pointer


def test_a_promotion_may_carry_its_proof():
    TYPES["promotion"].check(
        {
            **GOOD["promotion"],
            "rekor": {"uuid": "u", "logIndex": 0, "inclusionProof": PROOF},
            "attestation": {"bundle_sha256": "0" * 64, "witness": "w"},
        }
    )


def test_a_report_states_its_policy_and_no_other_type_does():
    assert TYPES["report"].policy(GOOD["report"]) == (DIGEST, "default")
    for broken in (
        {},
        {"policy": None},
        {"policy": {"digest": DIGEST}},
        {"policy": {"digest": 1, "viewSet": "v"}},
    ):
        assert TYPES["report"].policy(broken) is None
    for name in NAMES.keys() - {"report"}:
        assert TYPES[name].policy({**GOOD[name], "policy": {"digest": DIGEST, "viewSet": "v"}}) is None


def test_nothing_slow_is_imported_before_the_first_document():
    program = (
        "import sys; from signerd_predicates_stella.plugin import signerd_predicates; signerd_predicates({});"
        "print('jsonschema_rs' in sys.modules)"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert run.stdout.strip() == "False"
