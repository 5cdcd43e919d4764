import pytest

from signerd.contracts.providers import PayloadType, PredicateType
from signerd_predicates_stella.plugin import signerd_predicates


def test_uris_are_absolute_and_the_bare_names_are_accepted():
    types = signerd_predicates({})
    assert all(isinstance(one, PredicateType) for one in types)
    assert [(one.uri, one.names) for one in types] == [
        ("https://stella-ops.org/attestations/sbom/v1", ("stella-sbom", "stella.ops/sbom@v1")),
        ("https://stella-ops.org/attestations/vex/v1", ("stella-vex", "stella.ops/vex@v1")),
        ("https://stella-ops.org/attestations/report/v1", ("report", "stella.ops/report@v1")),
        ("https://stella-ops.org/attestations/promotion/v1", ("promotion", "stella.ops/promotion@v1")),
        ("https://stella-ops.org/attestations/replay/v1", ("replay", "stella.ops/replay@v1")),
    ]


@pytest.mark.parametrize("form", ["uri", "alias"])
def test_replay_manifests_alone_may_be_signed_bare(form):
    types = signerd_predicates({"predicate_uri": form})
    bare = {one.names[0]: one.payload_type for one in types if isinstance(one, PayloadType)}
    assert bare == {"replay": "application/vnd.stellaops.replay+json"}


def test_the_alias_can_stand_on_the_wire():
    first, *_ = signerd_predicates({"predicate_uri": "alias"})
    assert first.uri == "stella.ops/sbom@v1"
    assert first.names == ("stella-sbom", "https://stella-ops.org/attestations/sbom/v1")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"predicate_url": "alias"}, "predicate_url was given"),
        ({"predicate_uri": "both"}, 'must be "uri" or "alias", not \'both\''),
        ({"predicate_uri": True}, "not True"),
    ],
)
def test_another_setting_or_value_is_refused(settings, text):
    with pytest.raises(ValueError, match=text):
        signerd_predicates(settings)
