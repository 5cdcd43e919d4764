"""in-toto Statement v1: what a signature is about, and what is said of it.

Source: in-toto attestation framework, ``spec/v1/statement.md`` and ``digest_set.md``. What signerd emits is
narrower than what it reads: :func:`check_subjects` and :func:`build_statement` keep to what every Sigstore
client accepts, :func:`parse_statement` takes what other signers may rightly have written.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

import msgspec

from signerd.attestation.canonical import DEEPEST, canonical_json, canonicalise
from signerd.errors import Detail, Refusal

__all__ = [
    "MOST_DIGESTS",
    "MOST_SUBJECTS",
    "PAYLOAD_TYPE",
    "STATEMENT_TYPE",
    "STATEMENT_TYPES",
    "Statement",
    "Subject",
    "build_statement",
    "check_subjects",
    "is_type_uri",
    "join_statement",
    "parse_statement",
    "subjects_text",
]

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
STATEMENT_TYPES: Final = frozenset({STATEMENT_TYPE, "https://in-toto.io/Statement/v0.1"})
"""Those that are read; only the first is written."""

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"

MOST_SUBJECTS: Final = 1024
MOST_DIGESTS: Final = 32
"""Limits of sigstore-go, per Statement and per subject."""

_HEX: Final = re.compile(r"[0-9a-f]+")
_DIGEST_LENGTHS: Final = {"sha256": 64, "sha384": 96, "sha512": 128}
_GOST_LENGTHS: Final = {**_DIGEST_LENGTHS, "gost": 64, "streebog256": 64, "streebog512": 128}
# Controls, the separators that end a line, half surrogates, and what turns the direction of text around it.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_TYPE_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")
_STATEMENT_FIELDS: Final = frozenset({"_type", "subject", "predicateType", "predicate"})
_DESCRIPTOR_FIELDS: Final = frozenset(
    {"name", "uri", "digest", "content", "downloadLocation", "mediaType", "annotations"}
)


class Subject(msgspec.Struct, frozen=True):
    """An artefact: its name, and its digests as lowercase hex by algorithm. A foreign one may have an empty
    name."""

    name: str
    digest: dict[str, str]


class Statement(msgspec.Struct, frozen=True):
    """What a Statement says; ``predicate`` is None where a foreign Statement has none."""

    type: str
    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: dict[str, object] | None


def is_type_uri(text: str) -> bool:
    """Tell whether ``text`` is a TypeURI: absolute, with a scheme, in printable ASCII without spaces (RFC
    3986)."""
    return _TYPE_URI.fullmatch(text) is not None


def check_subjects(
    subjects: Sequence[Subject], *, allow_gost: bool = False, max_digests: int = MOST_DIGESTS
) -> None:
    """Check that these subjects may stand in a Statement that signerd signs.

    Refuses, with ``statement.invalid`` and ``details.pointer``: ``no_subject``, ``too_many_subjects``
    (1024), ``too_many_digests`` (more than ``max_digests`` each), ``name_empty``,
    ``name_control_character``, ``digest_missing_sha256``, ``digest_unknown`` (only sha256, sha384, sha512;
    with ``allow_gost`` gost, streebog256, streebog512 too), ``digest_malformed`` (other than lowercase hex
    of the exact length), ``duplicate_name``, ``duplicate_digest`` (equal sets; a verifier matches by digest
    alone).
    """
    if not subjects:
        _refuse("no_subject", "a statement needs a subject")
    if len(subjects) > MOST_SUBJECTS:
        _refuse("too_many_subjects", f"more than {MOST_SUBJECTS} subjects")
    lengths = _GOST_LENGTHS if allow_gost else _DIGEST_LENGTHS
    for index, subject in enumerate(subjects):
        if not subject.name:
            _refuse("name_empty", "a subject has no name", f"/subject/{index}/name")
        if _UNPRINTABLE.search(subject.name):
            _refuse(
                "name_control_character", "a subject's name has control characters", f"/subject/{index}/name"
            )
        _check_digests(subject.digest, lengths, max_digests, index)
    if len(subjects) > 1:
        _check_distinct(subjects)


def subjects_text(subjects: Sequence[Subject]) -> bytes:
    """Write the ``subject`` array of a Statement as RFC 8785 bytes, in the order given."""
    return canonical_json([{"digest": subject.digest, "name": subject.name} for subject in subjects])


def join_statement(subjects: bytes, predicate_type: str, predicate: bytes) -> bytes:
    """Join a Statement v1 from canonical parts, as RFC 8785 bytes.

    ``subjects`` comes from :func:`subjects_text` over what :func:`check_subjects` let pass, ``predicate``
    is the ``text`` of :func:`~signerd.attestation.canonical.canonicalise`: neither is looked at again.
    """
    return b"".join(
        (
            b'{"_type":"https://in-toto.io/Statement/v1","predicate":',
            predicate,
            b',"predicateType":',
            canonical_json(predicate_type),
            b',"subject":',
            subjects,
            b"}",
        )
    )


def build_statement(subjects: Sequence[Subject], predicate_type: str, predicate: bytes) -> bytes:
    """Join a Statement v1 from checked subjects, which keep their order, and a canonical predicate."""
    return join_statement(subjects_text(subjects), predicate_type, predicate)


def parse_statement(payload: bytes | memoryview) -> Statement:
    """Read a Statement, by whomever it was written.

    Canonical form, a name and a sha256 digest are not demanded; unknown fields are refused, as Sigstore's
    readers do. Refuses with ``statement.invalid``: every reason of ``canonicalise``, ``field_unknown``,
    ``field_malformed``, ``type_unknown`` (neither v1 nor v0.1), ``predicate_type_empty``, and those of
    :func:`check_subjects` that hold for any Statement. Raises nothing else.
    """
    try:
        # Within its Statement a predicate stands one level deeper.
        value = canonicalise(payload, deepest=DEEPEST + 1).value
    except Refusal as refusal:
        raise Refusal("statement.invalid", refusal.reason, refusal.public, details=refusal.details) from None
    if not value.keys() <= _STATEMENT_FIELDS:
        _refuse("field_unknown", "the statement has a field that is none of a statement's")
    predicate_type, predicate = value.get("predicateType"), value.get("predicate")
    if not isinstance(predicate_type, str):
        _refuse("field_malformed", "predicateType must be a string", "/predicateType")
    if not isinstance(predicate, dict | None):
        _refuse("field_malformed", "predicate must be an object", "/predicate")
    kind = value.get("_type")
    if not isinstance(kind, str) or kind not in STATEMENT_TYPES:
        _refuse("type_unknown", "the statement's type is unknown", "/_type")
    if not predicate_type or _UNPRINTABLE.search(predicate_type):
        _refuse("predicate_type_empty", "predicateType must name a type", "/predicateType")
    return Statement(kind, _read_subjects(value.get("subject")), predicate_type, predicate)


def _read_subjects(found: object) -> tuple[Subject, ...]:
    if not isinstance(found, list):
        _refuse("field_malformed", "subject must be an array", "/subject")
    if not found:
        _refuse("no_subject", "a statement needs a subject", "/subject")
    if len(found) > MOST_SUBJECTS:
        _refuse("too_many_subjects", f"more than {MOST_SUBJECTS} subjects", "/subject")
    return tuple(_read_subject(index, descriptor) for index, descriptor in enumerate(found))


def _read_subject(index: int, descriptor: object) -> Subject:
    where = f"/subject/{index}"
    if not isinstance(descriptor, dict):
        _refuse("field_malformed", "a subject must be an object", where)
    if not descriptor.keys() <= _DESCRIPTOR_FIELDS:
        _refuse("field_unknown", "a subject has a field that is none of a resource descriptor's", where)
    name = descriptor.get("name")
    if not isinstance(name, str | None):
        _refuse("field_malformed", "a subject's name must be a string", f"{where}/name")
    if name and _UNPRINTABLE.search(name):
        _refuse("name_control_character", "a subject's name has control characters", f"{where}/name")
    digests = descriptor.get("digest")
    if not isinstance(digests, dict) or not all(isinstance(digest, str) for digest in digests.values()):
        _refuse("field_malformed", "a subject's digest must be an object of strings", f"{where}/digest")
    if not digests:
        _refuse("no_digest", "a subject has no digest", f"{where}/digest")
    if len(digests) > MOST_DIGESTS:
        _refuse("too_many_digests", f"more than {MOST_DIGESTS} digests", f"{where}/digest")
    return Subject(name or "", digests)


def _check_digests(
    digests: Mapping[str, str], lengths: Mapping[str, int], max_digests: int, index: int
) -> None:
    where = f"/subject/{index}/digest"
    if len(digests) > max_digests:
        _refuse("too_many_digests", f"more than {max_digests} digests", where)
    if "sha256" not in digests:
        _refuse("digest_missing_sha256", "a subject has no sha256 digest", where)
    for algorithm, digest in digests.items():
        length = lengths.get(algorithm)
        if length is None:
            _refuse("digest_unknown", "a digest's algorithm is not among those allowed", where)
        if len(digest) != length or _HEX.fullmatch(digest) is None:
            _refuse("digest_malformed", f"not {length} lowercase hex digits", f"{where}/{algorithm}")


def _check_distinct(subjects: Sequence[Subject]) -> None:
    names: set[str] = set()
    digests: set[frozenset[tuple[str, str]]] = set()
    for index, subject in enumerate(subjects):
        if subject.name in names:
            _refuse("duplicate_name", "two subjects have the same name", f"/subject/{index}/name")
        names.add(subject.name)
        digest_set = frozenset(subject.digest.items())
        if digest_set in digests:
            _refuse("duplicate_digest", "two subjects have the same digests", f"/subject/{index}/digest")
        digests.add(digest_set)


def _refuse(reason: str, public: str, pointer: str | None = None) -> NoReturn:
    details: dict[str, Detail] = {} if pointer is None else {"pointer": pointer}
    raise Refusal("statement.invalid", reason, public, details=details)
