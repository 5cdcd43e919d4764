"""What a rule is, and the rules that are signerd's own choices: skipped unless the bundle must keep to its
profile."""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from signerd.attestation.bundle import MEDIA_TYPE
from signerd.attestation.canonical import canonicalise
from signerd.attestation.dsse import decode_base64
from signerd.attestation.statement import STATEMENT_TYPE
from signerd.errors import Refusal
from signerd_conformance.evidence import Evidence, at

__all__ = ["PROFILE_RULES", "Judgement", "Rule", "fail", "ok", "skip"]

Judgement = tuple[Literal["ok", "FAIL", "skip"], str]


class Rule(NamedTuple):
    """A rule: its stable name, what must be readable before it can be judged, its source, its judgement."""

    name: str
    about: Literal["text", "bundle", "statement"]
    source: str
    judge: Callable[[Evidence], Judgement]


def ok(seen: str) -> Judgement:
    """The rule holds."""
    return "ok", seen


def fail(seen: str) -> Judgement:
    """The rule is broken."""
    return "FAIL", seen


def skip(seen: str) -> Judgement:
    """Nothing to judge."""
    return "skip", seen


def _chosen(evidence: Evidence, holds: bool, seen: str) -> Judgement:
    if holds:
        return ok(seen)
    return fail(seen) if evidence.strict else skip(f"{seen}; not asked of others")


def _is_canonical(text: bytes | None) -> bool:
    if text is None:
        return False
    try:
        return canonicalise(text, deepest=201).text == text
    except Refusal:
        return False


def _canonical_bundle(evidence: Evidence) -> Judgement:
    holds = _is_canonical(evidence.text)
    return _chosen(evidence, holds, "RFC 8785" if holds else "another form")


def _canonical_payload(evidence: Evidence) -> Judgement:
    holds = _is_canonical(evidence.payload)
    return _chosen(evidence, holds, "RFC 8785" if holds else "another form")


def _newest_form(evidence: Evidence) -> Judgement:
    media_type = at(evidence.bundle, "mediaType")
    holds = media_type == MEDIA_TYPE and evidence.keyid is None
    if evidence.hint is not None:
        holds = holds and len(decode_base64(evidence.hint) or b"") == 32
    return _chosen(evidence, holds, "v0.3, no keyid" if holds else "an older form, a keyid or another hint")


def _full_subjects(evidence: Evidence) -> Judgement:
    holds = at(evidence.statement, "_type") == STATEMENT_TYPE and all(
        at(subject, "name") and at(subject, "digest", "sha256") for subject in evidence.subjects
    )
    return _chosen(
        evidence, holds, "v1, all named, all with sha256" if holds else "v0.1, or a name or sha256 missing"
    )


PROFILE_RULES: Final = (
    Rule("canonical-bundle", "text", "signerd; RFC 8785", _canonical_bundle),
    Rule("canonical-payload", "statement", "signerd; RFC 8785", _canonical_payload),
    Rule("newest-form", "bundle", "signerd: what every Sigstore client takes", _newest_form),
    Rule("full-subjects", "statement", "signerd: what every Sigstore client takes", _full_subjects),
)
