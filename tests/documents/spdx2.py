"""SPDX 2.x documents: one with every field of the specification, one with the required ones alone."""

import json
from typing import Any

ALGORITHMS = (
    "MD2 MD4 MD5 MD6 SHA1 SHA224 SHA256 SHA384 SHA512 SHA3-256 SHA3-384 SHA3-512 BLAKE2b-256 BLAKE2b-384 "
    "BLAKE2b-512 BLAKE3 ADLER32"
).split()
"""The last eight came with 2.3."""
CATEGORIES = "OTHER SECURITY PACKAGE_MANAGER PACKAGE-MANAGER PERSISTENT_ID PERSISTENT-ID".split()
PURPOSES = (
    "APPLICATION ARCHIVE CONTAINER DEVICE FILE FIRMWARE FRAMEWORK INSTALL LIBRARY OPERATING-SYSTEM OTHER "
    "SOURCE"
).split()
FILE_TYPES = "APPLICATION ARCHIVE AUDIO BINARY DOCUMENTATION IMAGE OTHER SOURCE SPDX TEXT VIDEO".split()
RELATIONSHIPS = """
AMENDS ANCESTOR_OF BUILD_DEPENDENCY_OF BUILD_TOOL_OF CONTAINED_BY CONTAINS COPY_OF DATA_FILE_OF
DEPENDENCY_MANIFEST_OF DEPENDENCY_OF DEPENDS_ON DESCENDANT_OF DESCRIBED_BY DESCRIBES DEV_DEPENDENCY_OF
DEV_TOOL_OF DISTRIBUTION_ARTIFACT DOCUMENTATION_OF DYNAMIC_LINK EXAMPLE_OF EXPANDED_FROM_ARCHIVE
FILE_ADDED FILE_DELETED FILE_MODIFIED GENERATED_FROM GENERATES HAS_PREREQUISITE METAFILE_OF
OPTIONAL_COMPONENT_OF OPTIONAL_DEPENDENCY_OF OTHER PACKAGE_OF PATCH_APPLIED PATCH_FOR PREREQUISITE_FOR
PROVIDED_DEPENDENCY_OF REQUIREMENT_DESCRIPTION_FOR RUNTIME_DEPENDENCY_OF SPECIFICATION_FOR STATIC_LINK
TEST_CASE_OF TEST_DEPENDENCY_OF TEST_OF TEST_TOOL_OF VARIANT_OF
""".split()
ANNOTATION = {
    "annotationDate": "2020-01-01T00:00:00Z",
    "annotationType": "REVIEW",
    "annotator": "Tool: t",
    "comment": "c",
}
ELEMENT = {"SPDXID": "SPDXRef-1", "annotations": [ANNOTATION], "comment": "c"}
LICENSED = {
    "attributionTexts": ["a"],
    "copyrightText": "NOASSERTION",
    "licenseComments": "l",
    "licenseConcluded": "MIT",
}
CHECKSUM = {"algorithm": "SHA256", "checksumValue": "ab"}


def small(version: str) -> dict[str, Any]:
    """Only what both versions require."""
    return {
        "SPDXID": "SPDXRef-DOCUMENT",
        "creationInfo": {"created": "2020-01-01T00:00:00Z", "creators": ["Tool: t"]},
        "dataLicense": "CC0-1.0",
        "documentNamespace": "https://example.com/n",
        "name": "n",
        "spdxVersion": f"SPDX-{version}",
    }


def full(version: str) -> dict[str, Any]:
    """Every field, one item in each array."""
    document = {
        **small(version),
        "annotations": [ANNOTATION],
        "comment": "c",
        "creationInfo": {
            "comment": "c",
            "created": "2020-01-01T00:00:00Z",
            "creators": ["Tool: t"],
            "licenseListVersion": "3.1",
        },
        "documentDescribes": ["SPDXRef-1"],
        "externalDocumentRefs": [
            {
                "checksum": CHECKSUM,
                "externalDocumentId": "DocumentRef-x",
                "spdxDocument": "https://example.com/d",
            }
        ],
        "files": [_file()],
        "hasExtractedLicensingInfos": [_license()],
        "packages": [_package(version)],
        "relationships": [relationship("DESCRIBES")],
        "revieweds": [{"comment": "c", "reviewDate": "2020-01-01T00:00:00Z", "reviewer": "Person: p"}],
        "snippets": [_snippet()],
    }
    copied: dict[str, Any] = json.loads(json.dumps(document))
    return copied


def relationship(kind: str) -> dict[str, Any]:
    """A relationship of this type."""
    return {"comment": "c", "relatedSpdxElement": "a", "relationshipType": kind, "spdxElementId": "b"}


def external_ref(category: str) -> dict[str, Any]:
    """An external reference of this category."""
    return {
        "comment": "c",
        "referenceCategory": category,
        "referenceLocator": "pkg:a/b",
        "referenceType": "purl",
    }


def _package(version: str) -> dict[str, Any]:
    dated = {"builtDate": "x", "releaseDate": "x", "validUntilDate": "x", "primaryPackagePurpose": "LIBRARY"}
    return {
        **ELEMENT,
        **LICENSED,
        **(dated if version == "2.3" else {}),
        "checksums": [CHECKSUM],
        "description": "d",
        "downloadLocation": "NONE",
        "externalRefs": [external_ref("SECURITY")],
        "filesAnalyzed": True,
        "hasFiles": ["SPDXRef-2"],
        "homepage": "https://example.com/",
        "licenseDeclared": "MIT",
        "licenseInfoFromFiles": ["MIT"],
        "name": "n",
        "originator": "Person: p",
        "packageFileName": "f",
        "packageVerificationCode": {
            "packageVerificationCodeExcludedFiles": ["a"],
            "packageVerificationCodeValue": "ab",
        },
        "sourceInfo": "s",
        "summary": "s",
        "supplier": "Person: p",
        "versionInfo": "1",
    }


def _file() -> dict[str, Any]:
    return {
        **ELEMENT,
        **LICENSED,
        "artifactOfs": [{}],
        "checksums": [CHECKSUM],
        "fileContributors": ["c"],
        "fileDependencies": ["d"],
        "fileName": "./f",
        "fileTypes": ["SOURCE"],
        "licenseInfoInFiles": ["MIT"],
        "noticeText": "n",
    }


def _snippet() -> dict[str, Any]:
    place = {"reference": "r", "offset": 1, "lineNumber": 2}
    return {
        **ELEMENT,
        **LICENSED,
        "licenseInfoInSnippets": ["MIT"],
        "name": "n",
        "ranges": [{"endPointer": place, "startPointer": place}],
        "snippetFromFile": "SPDXRef-2",
    }


def _license() -> dict[str, Any]:
    reference = {
        "isLive": True,
        "isValid": True,
        "isWayBackLink": True,
        "match": "m",
        "order": 1,
        "timestamp": "t",
        "url": "u",
    }
    return {
        "comment": "c",
        "crossRefs": [reference],
        "extractedText": "t",
        "licenseId": "LicenseRef-1",
        "name": "n",
        "seeAlsos": ["s"],
    }
