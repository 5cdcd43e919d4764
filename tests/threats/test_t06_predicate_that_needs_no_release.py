"""T6: a caller picks a predicate type that needs no release.

The matrix holds every type of both catalogues: one that is added without a decision fails here.
"""

import pytest

from signerd_predicates_intoto.plugin import signerd_predicates as in_toto
from signerd_predicates_stella.plugin import signerd_predicates as stella

REQUIRED = {
    # SBOM and VEX documents
    "https://cyclonedx.org/bom",
    "https://spdx.dev/Document",
    "https://spdx.dev/Document/v2.3",
    "https://spdx.dev/Document/v3",
    "https://openvex.dev/ns",
    "https://openvex.dev/ns/v0.2.0",
    "https://stella-ops.org/attestations/sbom/v1",
    "https://stella-ops.org/attestations/vex/v1",
    # scans, results, reports
    "https://cosign.sigstore.dev/attestation/vuln/v1",
    "https://in-toto.io/attestation/vulns/v0.1",
    "https://in-toto.io/attestation/vulns/v0.2",
    "https://in-toto.io/attestation/test-result/v0.1",
    "https://in-toto.io/attestation/runtime-trace/v0.1",
    "https://in-toto.io/attestation/scai/v0.3",
    "https://in-toto.io/attestation/svr/v0.2",
    "https://slsa.dev/verification_summary/v1",
    "https://stella-ops.org/attestations/report/v1",
    "https://stella-ops.org/attestations/replay/v1",
    # types that can carry or point to any of the above
    "https://cosign.sigstore.dev/attestation/v1",
    "https://in-toto.io/attestation/reference/v0.1",
}
EXEMPT = {
    "https://slsa.dev/provenance/v1",
    "https://slsa.dev/provenance/v0.2",
    "https://in-toto.io/attestation/link/v0.3",
    "https://in-toto.io/Link/v1",
    "https://in-toto.io/attestation/release/v0.1",
    "https://stella-ops.org/attestations/promotion/v1",
}
NEED_POLICY = {"https://stella-ops.org/attestations/report/v1"}


def test_the_matrix_is_the_catalogue():
    catalogue = {one.uri: one for one in (*in_toto({}), *stella({}))}
    assert {uri for uri, one in catalogue.items() if one.needs_release} == REQUIRED
    assert {uri for uri, one in catalogue.items() if not one.needs_release} == EXEMPT
    assert {uri for uri, one in catalogue.items() if one.needs_policy} == NEED_POLICY


def test_no_name_of_one_catalogue_is_one_of_the_other():
    names = [name for one in (*in_toto({}), *stella({})) for name in (one.uri, *one.names)]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("form", ["uri", "alias"])
def test_the_form_of_the_uri_changes_no_need(form):
    needs = {one.names[0]: one.needs_release for one in stella({"predicate_uri": form})}
    assert needs == {"stella-sbom": True, "stella-vex": True, "report": True, "promotion": False, "replay": True}
