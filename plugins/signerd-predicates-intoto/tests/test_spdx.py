"""SPDX 2.2 and 2.3: our schemas and the official ones give one verdict."""

import json
import time

import pytest

from documents import spdx2
from documents.mutations import mutations
from documents.verdicts import accepts, disagreements, oracle
from outside.parts import VECTORS
from signerd.errors import Refusal
from signerd_predicates_intoto.spdx import check_spdx, check_spdx2

VERSIONS = ("2.2", "2.3")


def states(version):
    """Only documents that still state the version: the check chooses its schema by it."""
    return lambda document: document.get("spdxVersion") == f"SPDX-{version}"


@pytest.mark.needs("vectors")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("make", [spdx2.full, spdx2.small])
def test_both_judge_every_mutation_alike(version, make):
    document = make(version)
    assert accepts(check_spdx, document)
    stated = states(version)
    mutated = [(what, one) for what, one in mutations(document) if stated(one)]
    assert len(mutated) > (3000 if make is spdx2.full else 200)
    found, accepted = disagreements(check_spdx, oracle(f"spdx-{version}"), mutated)
    assert not found, found[:20]
    assert accepted > len(mutated) // 20, "the set must hold good documents too"


@pytest.mark.needs("vectors")
@pytest.mark.parametrize("version", VERSIONS)
def test_both_know_the_same_words(version):
    base = spdx2.full(version)
    package, file = base["packages"][0], base["files"][0]
    algorithms = [*spdx2.ALGORITHMS, "SHA3-224", "CRC32"]
    tried = [
        *(
            (kind, {**base, "relationships": [spdx2.relationship(kind)]})
            for kind in [*spdx2.RELATIONSHIPS, "FRIEND_OF"]
        ),
        *(
            (one, {**base, "packages": [{**package, "externalRefs": [spdx2.external_ref(one)]}]})
            for one in spdx2.CATEGORIES
        ),
        *(
            (one, {**base, "packages": [{**package, "primaryPackagePurpose": one}]})
            for one in [*spdx2.PURPOSES, "GAME"]
        ),
        *((one, {**base, "files": [{**file, "fileTypes": [one]}]}) for one in [*spdx2.FILE_TYPES, "FONT"]),
        *(
            (one, {**base, "files": [{**file, "checksums": [{"algorithm": one, "checksumValue": "ab"}]}]})
            for one in algorithms
        ),
    ]
    found, accepted = disagreements(check_spdx, oracle(f"spdx-{version}"), tried)
    assert not found, found
    assert accepted >= (60 if version == "2.2" else 85)


@pytest.mark.needs("vectors")
def test_a_document_of_a_real_tool_is_accepted():
    path = VECTORS / "cosign" / "test" / "testdata" / "bom-go-mod.spdx.json"
    check_spdx(json.loads(path.read_bytes()))


@pytest.mark.parametrize("version", [None, 2.3, "SPDX-2.1", "SPDX-3.0.1", "", ["SPDX-2.3"]])
def test_an_unknown_version_is_refused(version):
    with pytest.raises(Refusal) as caught:
        check_spdx({**spdx2.small("2.3"), "spdxVersion": version})
    assert caught.value.code == "predicate.invalid"
    assert caught.value.details == {"reason": "version_unsupported", "pointer": "/spdxVersion"}


def test_a_document_that_states_two_versions_is_judged_as_2_x():
    with pytest.raises(Refusal, match="'@context' is unknown"):
        check_spdx({**spdx2.small("2.3"), "@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"})


def test_the_pointer_leads_to_the_fault():
    document = spdx2.full("2.3")
    document["packages"][0]["checksums"][0]["algorithm"] = "CRC32"
    with pytest.raises(Refusal) as caught:
        check_spdx2(document)
    assert caught.value.details["pointer"] == "/packages/0/checksums/0/algorithm"


def test_a_check_of_a_small_document_takes_microseconds():
    document = spdx2.full("2.3")
    check_spdx(document)
    started = time.perf_counter()
    for _ in range(200):
        check_spdx(document)
    assert (time.perf_counter() - started) / 200 < 500e-6
