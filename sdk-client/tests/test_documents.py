import json

import pytest

from signerd.errors import Refusal
from signerd_client.documents import Kind, detect_type


@pytest.mark.parametrize(
    ("kind", "document", "expected"),
    [
        ("sbom", {"bomFormat": "CycloneDX", "specVersion": "1.6"}, "cyclonedx"),
        ("sbom", {"spdxVersion": "SPDX-2.3"}, "spdx"),
        ("sbom", {"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": []}, "spdx"),
        ("sbom", {"@context": [{}, "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"]}, "spdx"),
        ("vex", {"@context": "https://openvex.dev/ns/v0.2.0"}, "openvex"),
        ("vex", {"@context": "https://openvex.dev/ns"}, "openvex"),
        (
            "report",
            {"report": {"format": "x", "digest": {}}, "policy": {"digest": "d", "viewSet": "v"}},
            "report",
        ),
    ],
)
def test_each_type_is_told_by_its_marks(kind: Kind, document: dict[str, object], expected: str) -> None:
    assert detect_type(json.dumps(document).encode(), kind) == expected


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        ("sbom", {}),
        ("sbom", {"bomFormat": "cyclonedx"}),
        ("sbom", {"bomFormat": ["CycloneDX"]}),
        ("sbom", {"spdxVersion": 2}),
        ("sbom", {"@context": "https://openvex.dev/ns"}),
        ("vex", {"bomFormat": "CycloneDX"}),
        ("vex", {"@context": "https://openvex.dev/nsx"}),
        ("vex", {"@context": {"a": 1}}),
        ("report", {"report": {"format": "x"}, "policy": {"digest": "d", "viewSet": "v"}}),
        ("report", {"report": [], "policy": 3}),
    ],
)
def test_anything_else_is_not_recognised(kind: Kind, document: dict[str, object]) -> None:
    with pytest.raises(Refusal) as caught:
        detect_type(json.dumps(document).encode(), kind)
    assert (caught.value.code, caught.value.reason) == ("predicate.unsupported", "not_recognised")


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"bomFormat": "\xff"}', b"\xff", b"[" * 100_000, b"3"])
def test_what_is_no_json_object_is_refused(text: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        detect_type(text, "sbom")
    assert (caught.value.code, caught.value.reason) == ("predicate.invalid", "not_json")
