"""SPDX 3.0.1: the schema made from the bindings and the official one give one verdict."""

import re
import time

import pytest

from documents import spdx3
from documents.mutations import mutations
from documents.verdicts import accepts, disagreements, oracle
from signerd.errors import Refusal
from signerd_predicates_intoto.spdx3 import check_spdx3, model_schema


def mutated_elements():
    """Mutations of every class; a property that an earlier class had already is changed there only."""
    seen = set()
    for element in spdx3.elements():
        for what, document in mutations(spdx3.graph(element)):
            key = re.sub(r"/\d+", "", what.removeprefix("@graph/0"))
            if not key.startswith(("/", ":")) or key in seen:
                continue
            if key.startswith("/") and "/type" not in key:
                seen.add(key)
            yield f"{element['type']} {what}", document


def test_every_class_of_the_model_is_accepted_with_all_its_properties():
    elements = list(spdx3.elements())
    assert len(elements) > 60
    check_spdx3(spdx3.graph(*elements))
    for element in elements:
        check_spdx3({"@context": spdx3.CONTEXT, **element})


@pytest.mark.needs("vectors")
def test_both_judge_every_mutation_alike():
    tried = list(mutated_elements())
    assert len(tried) > 10_000
    found, accepted = disagreements(check_spdx3, oracle("spdx-3.0.1"), tried)
    assert not found, (len(found), found[:20])
    assert accepted > 1000


@pytest.mark.needs("vectors")
def test_both_judge_a_document_of_one_object_alike():
    document = {"@context": spdx3.CONTEXT, **spdx3.element("Relationship")}
    found, accepted = disagreements(check_spdx3, oracle("spdx-3.0.1"), mutations(document))
    assert not found, (len(found), found[:20])
    assert accepted > 20


@pytest.mark.needs("vectors")
def test_both_judge_what_stands_around_the_graph_alike():
    agent = spdx3.element("Agent")
    context = spdx3.CONTEXT
    around = [
        {},
        {"@context": context},
        {"@graph": [agent]},
        {"@context": [context], "@graph": [agent]},
        {"@context": context, "@graph": agent},
        {"@context": context, "@graph": []},
        {"@context": context, "@graph": [[agent]]},
        {"@context": context, "@graph": ["a:b"]},
        {"@context": context, "@graph": [agent], "name": "n"},
        {"@context": context, "@graph": [agent], **agent},
        {"@context": "https://spdx.org/rdf/3.0.0/spdx-context.jsonld", "@graph": [agent]},
        {"@context": [context, {"a": "b"}], "@graph": [agent]},
        {"@context": context, "type": "a:b"},
    ]
    extensions = [
        {},
        {"type": "x"},
        {"type": "x:y"},
        {"type": "x:y", "q": 1},
        {"type": "_:x"},
        {"type": "Agent"},
        {"type": 1},
        {"type": "extension_Extension"},
        {"type": "extension_CdxPropertiesExtension", "q": 1},
        {"@type": "x:y"},
        "x:y",
        "x",
        None,
    ]
    extended = [spdx3.graph({**agent, "extension": [one]}) for one in extensions]
    found, accepted = disagreements(
        check_spdx3, oracle("spdx-3.0.1"), ((str(one), one) for one in around + extended)
    )
    assert not found, found
    assert accepted >= 6


@pytest.mark.needs("vectors")
def test_both_judge_times_and_individuals_alike():
    relationship = spdx3.element("Relationship")
    times = [
        "2020-02-30T00:00:00Z",
        "2020-20-01T00:00:00Z",
        "2020-01-40T00:00:00Z",
        "2020-01-01T30:00:00Z",
        "2020-01-01T00:70:00Z",
        "2020-01-01T24:00:60Z",
        "2020-01-01T00:00:00+01:00",
        "2020-01-01T00:00:00.5Z",
        "2020-01-01t00:00:00z",
        "2020-01-01T00:00:00Z\n",
        "12020-01-01T00:00:00Z",
    ]
    ends = ["NoneElement", "NoAssertionElement", "SpdxOrganization", {"type": "NoneElement"}, "_:b", "x"]
    tried = [
        *((one, spdx3.graph({**relationship, "startTime": one})) for one in times),
        *((str(one), spdx3.graph({**relationship, "from": one})) for one in ends),
    ]
    found, accepted = disagreements(check_spdx3, oracle("spdx-3.0.1"), tried)
    assert not found, found
    assert accepted >= 4


@pytest.mark.parametrize("context", [None, "https://spdx.org/rdf/3.0.0/spdx-context.jsonld", [spdx3.CONTEXT]])
def test_another_context_is_an_unknown_version(context):
    with pytest.raises(Refusal) as caught:
        check_spdx3({"@context": context, "@graph": []})
    assert caught.value.details == {"reason": "version_unsupported", "pointer": "/@context"}


def test_the_pointer_leads_to_the_fault_in_a_graph_and_in_one_object():
    relationship = {**spdx3.element("Relationship"), "relationshipType": "friendOf"}
    for document, pointer in (
        (spdx3.graph(spdx3.element("Agent"), relationship), "/@graph/1/relationshipType"),
        ({"@context": spdx3.CONTEXT, **relationship}, "/relationshipType"),
    ):
        with pytest.raises(Refusal) as caught:
            check_spdx3(document)
        assert caught.value.details["pointer"] == pointer


def test_nested_objects_cost_no_more_than_their_size():
    def nested(depth):
        inner = "a:b"
        for _ in range(depth):
            inner = {**spdx3.element("Relationship"), "from": inner}
        return spdx3.graph(inner)

    document = nested(99)
    check_spdx3(document)
    started = time.perf_counter()
    check_spdx3(document)
    broken = nested(99)
    broken["@graph"][0]["from"]["from"]["to"] = 1
    assert not accepts(check_spdx3, broken)
    assert time.perf_counter() - started < 1


def test_the_schema_refers_to_nothing_outside_itself():
    text = str(model_schema())
    assert set(re.findall(r"'\$ref': '(\W*)", text)) == {"#/$"}
