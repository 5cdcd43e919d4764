"""OpenVEX documents: one with every field, and small ones at the edges of the rules."""

from collections.abc import Iterator
from typing import Any

STATUSES = ("not_affected", "affected", "fixed", "under_investigation")
JUSTIFICATIONS = (
    "component_not_present",
    "vulnerable_code_not_present",
    "vulnerable_code_not_in_execute_path",
    "vulnerable_code_cannot_be_controlled_by_adversary",
    "inline_mitigations_already_exist",
)
HASHES = (
    "md5 sha1 sha-256 sha-384 sha-512 sha3-224 sha3-256 sha3-384 sha3-512 blake2s-256 blake2b-256 blake2b-512"
).split()
TIME = "2023-01-08T18:02:03.647787998-06:00"
BARE = {"vulnerability": {"name": "CVE-2023-1"}, "products": [{"@id": "pkg:a/b"}]}


def small(**statement: Any) -> dict[str, Any]:
    """One statement, only the required fields; ``statement`` replaces some of its own."""
    return {
        "@context": "https://openvex.dev/ns",
        "@id": "https://openvex.dev/docs/example/x",
        "author": "a",
        "timestamp": "2023-01-08T18:02:03Z",
        "version": 1,
        "statements": [{**BARE, "status": "fixed", **statement}],
    }


def full() -> dict[str, Any]:
    """Every field."""
    component = {
        "@id": "pkg:a/b@1",
        "identifiers": {"purl": "pkg:a/b@1", "cpe22": "cpe:/a:b", "cpe23": "cpe:2.3:a:b"},
        "hashes": dict.fromkeys(HASHES, "ab"),
    }
    statement = {
        "@id": "https://openvex.dev/docs/example/s",
        "version": 2,
        "vulnerability": {
            "@id": "https://e.com/CVE-2023-1",
            "name": "CVE-2023-1",
            "description": "d",
            "aliases": ["A"],
        },
        "timestamp": TIME,
        "last_updated": TIME,
        "products": [{**component, "subcomponents": [component]}],
        "status": "affected",
        "supplier": "s",
        "status_notes": "n",
        "action_statement": "a",
        "action_statement_timestamp": TIME,
    }
    excused = [{**BARE, "status": "not_affected", "justification": label} for label in JUSTIFICATIONS]
    rest = {"role": "r", "last_updated": TIME, "tooling": "t", "statements": [statement, *excused]}
    return {**small(), "@context": "https://openvex.dev/ns/v0.2.0", **rest}


def edges() -> Iterator[dict[str, Any]]:
    """Yield each status with and without what some need, and each way to name a product, good and bad."""
    for status in STATUSES:
        yield small(status=status)
        yield small(status=status, justification=JUSTIFICATIONS[0])
        yield small(status=status, impact_statement="i")
        yield small(status=status, action_statement="a")
        yield small(status=status, justification=JUSTIFICATIONS[0], action_statement="a")
    products: tuple[dict[str, Any], ...] = (
        {"hashes": {"md5": "x"}},
        {"@id": "a:b", "hashes": {"md5": "x"}},
        {"@id": "a:b", "hashes": {}},
        {"@id": "a:b", "subcomponents": [{"hashes": {"md5": "x"}}]},
        {"identifiers": {"purl": "pkg:a/b"}},
        {"identifiers": {}},
        {"subcomponents": []},
    )
    for product in products:
        yield small(products=[product])
