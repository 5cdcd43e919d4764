"""The types of this plugin, and what each of them needs."""

from collections.abc import Iterator
from dataclasses import dataclass

from signerd_predicates_intoto.cyclonedx import check_cyclonedx
from signerd_predicates_intoto.schema import Check, schema_check
from signerd_predicates_intoto.spdx import check_spdx, check_spdx2
from signerd_predicates_intoto.spdx3 import check_spdx3

__all__ = ["DocumentType", "predicate_types"]


@dataclass(slots=True, eq=False)
class DocumentType:
    """A predicate type whose predicate is the document itself (contract ``PredicateType``)."""

    uri: str
    names: tuple[str, ...]
    needs_release: bool
    judge: Check
    needs_policy: bool = False
    heavy: bool = False

    def check(self, document: dict[str, object]) -> None:
        """Refuse with ``predicate.invalid`` a document that is not of this type."""
        self.judge(document)

    def policy(self, document: dict[str, object]) -> tuple[str, str] | None:  # the contract's argument
        """Return None: no document of this catalogue states the policy of a report."""
        return None


def predicate_types() -> list[DocumentType]:
    """Return the whole catalogue; nothing is compiled or imported for it yet."""
    return [*_documents(), *_statements(), *_in_toto()]


def _documents() -> Iterator[DocumentType]:
    """SBOM and VEX formats: all made by scanners and generators, so all need a cleared release."""
    yield DocumentType("https://cyclonedx.org/bom", ("cyclonedx",), True, check_cyclonedx)
    yield DocumentType("https://spdx.dev/Document", ("spdx", "spdxjson"), True, check_spdx)
    yield DocumentType("https://spdx.dev/Document/v2.3", ("spdx-2.3",), True, check_spdx2)
    yield DocumentType("https://spdx.dev/Document/v3", ("spdx-3",), True, check_spdx3)
    openvex = schema_check("OpenVEX document", "openvex-0.2.0")
    yield DocumentType("https://openvex.dev/ns", ("openvex",), True, openvex)
    yield DocumentType("https://openvex.dev/ns/v0.2.0", ("openvex-0.2.0",), True, openvex)


def _statements() -> Iterator[DocumentType]:
    """What a builder or publisher says about its own work: no scanner's content, so no release check."""
    for uri, names, definition in (
        ("https://slsa.dev/provenance/v1", ("slsaprovenance1", "slsa-provenance"), "slsa-provenance-v1"),
        ("https://slsa.dev/provenance/v0.2", ("slsaprovenance", "slsaprovenance02"), "slsa-provenance-v0.2"),
        ("https://in-toto.io/attestation/link/v0.3", ("link-v0.3",), "link-v0.3"),
        ("https://in-toto.io/Link/v1", ("link",), "link-v1"),
        ("https://in-toto.io/attestation/release/v0.1", ("release",), "release-v0.1"),
    ):
        yield DocumentType(uri, names, False, schema_check(f"{definition} predicate", "in-toto", definition))


def _in_toto() -> Iterator[DocumentType]:
    """Results, verdicts and reports of tools, and the types that can carry or point to anybody's document.

    The last ones, ``reference`` and cosign's ``custom``, would otherwise be the way around the release check.
    """
    for uri, names, definition in (
        ("https://slsa.dev/verification_summary/v1", ("vsa",), "vsa"),
        ("https://in-toto.io/attestation/svr/v0.2", ("svr",), "svr-v0.2"),
        ("https://in-toto.io/attestation/scai/v0.3", ("scai",), "scai-v0.3"),
        ("https://in-toto.io/attestation/runtime-trace/v0.1", ("runtime-trace",), "runtime-trace-v0.1"),
        ("https://in-toto.io/attestation/test-result/v0.1", ("test-result",), "test-result-v0.1"),
        ("https://in-toto.io/attestation/vulns/v0.2", ("vulns",), "vulns-v0.2"),
        ("https://in-toto.io/attestation/vulns/v0.1", ("vulns-v0.1",), "vulns-v0.1"),
        ("https://cosign.sigstore.dev/attestation/vuln/v1", ("vuln",), "cosign-vuln-v1"),
        ("https://in-toto.io/attestation/reference/v0.1", ("reference",), "reference-v0.1"),
        ("https://cosign.sigstore.dev/attestation/v1", ("custom",), "cosign-custom-v1"),
    ):
        yield DocumentType(uri, names, True, schema_check(f"{definition} predicate", "in-toto", definition))
