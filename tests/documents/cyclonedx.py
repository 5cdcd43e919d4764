"""CycloneDX documents as generators make them."""

from typing import Any


def bom(version: str, components: int = 3) -> dict[str, Any]:
    """A document with this many components; about 450 bytes each."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": version,
        "serialNumber": "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79",
        "version": 1,
        "metadata": {
            "timestamp": "2024-01-01T00:00:00Z",
            "component": {"type": "application", "bom-ref": "root", "name": "app", "version": "1.0"},
        },
        "components": [_component(number) for number in range(components)],
        "dependencies": [{"ref": "root", "dependsOn": [f"x{number}" for number in range(components)]}],
    }


def _component(number: int) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": f"x{number}",
        "name": f"x{number}",
        "version": "1.0",
        "purl": f"pkg:pypi/x{number}@1.0",
        "licenses": [{"license": {"id": "MIT"}}],
        "hashes": [{"alg": "SHA-256", "content": f"{number:064x}"}],
        "externalReferences": [{"type": "website", "url": f"https://example.com/x{number}"}],
    }
