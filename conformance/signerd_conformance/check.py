"""The byte rules of a Sigstore bundle with an in-toto Statement: name, source and judgement of each.

A rule says what it saw. ``skip`` stands where a rule has nothing to judge, or is a choice of signerd that
others need not make; it is never a pass.
"""

import re
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from signerd.attestation.bundle import LARGEST_BUNDLE, MEDIA_TYPES, MOST_LOG_ENTRIES, MOST_TIMESTAMPS
from signerd.attestation.dsse import decode_base64, pae
from signerd.attestation.statement import (
    MOST_DIGESTS,
    MOST_SUBJECTS,
    PAYLOAD_TYPE,
    STATEMENT_TYPES,
    is_type_uri,
)
from signerd.errors import Refusal
from signerd.verification.bundle import printable
from signerd_conformance.evidence import BYTES, INT64, Evidence, at, fields_of, listed
from signerd_conformance.profile import PROFILE_RULES, Judgement, Rule, fail, ok, skip

__all__ = ["RULES", "Finding", "check"]

_HEX: Final = re.compile(r"[0-9a-f]+")
_HEX_LENGTHS: Final = {"sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128, "sha1": 40}
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_STATEMENT_FIELDS: Final = frozenset({"_type", "subject", "predicateType", "predicate"})
_DESCRIPTOR_FIELDS: Final = frozenset(
    {"name", "uri", "digest", "content", "downloadLocation", "mediaType", "annotations"}
)


_INT64: Final = re.compile(r"0|-?[1-9][0-9]{0,18}")
_ENTRY: Final = (
    ("logId", "keyId"),
    ("kindVersion", "kind"),
    ("kindVersion", "version"),
    ("canonicalizedBody",),
)
_PROMISE: Final = (("inclusionPromise", "signedEntryTimestamp"),)
_PROOF: Final = (
    ("inclusionProof", "rootHash"),
    ("inclusionProof", "treeSize"),
    ("inclusionProof", "checkpoint", "envelope"),
)


class Finding(NamedTuple):
    """What one rule found: ``seen`` is printable ASCII."""

    status: Literal["ok", "FAIL", "skip"]
    rule: Rule
    seen: str


def check(evidence: Evidence) -> list[Finding]:
    """Judge a bundle by every rule, in the order of :data:`RULES`. Raises nothing, whatever the bundle
    is."""
    findings: list[Finding] = []
    for rule in RULES:
        status, seen = rule.judge(evidence) if _is_readable(evidence, rule) else skip("not readable so far")
        findings.append(Finding(status, rule, printable(seen)))
    return findings


def _is_readable(evidence: Evidence, rule: Rule) -> bool:
    if rule.about == "text":
        return True
    return evidence.bundle is not None if rule.about == "bundle" else evidence.statement is not None


def _size(evidence: Evidence) -> Judgement:
    seen = f"{len(evidence.text)} bytes"
    return ok(seen) if len(evidence.text) <= LARGEST_BUNDLE else fail(f"more than {LARGEST_BUNDLE} bytes")


def _json(evidence: Evidence) -> Judgement:
    return ok("one object that reads one way") if evidence.flaw is None else fail(evidence.flaw)


def _media_type(evidence: Evidence) -> Judgement:
    found = at(evidence.bundle, "mediaType")
    return ok(str(found)) if isinstance(found, str) and found in MEDIA_TYPES else fail(f"{found!r}")


def _fields(evidence: Evidence) -> Judgement:
    wrong = [field.pointer for field in fields_of(evidence.bundle) if not field.sound]
    return fail(f"unknown or of a wrong kind: {', '.join(wrong)}") if wrong else ok("all of them defined")


def _integers(evidence: Evidence) -> Judgement:
    found = [field for field in fields_of(evidence.bundle) if field.name in INT64 and field.value is not None]
    wrong = [
        field.pointer
        for field in found
        if not isinstance(field.value, str) or not _INT64.fullmatch(field.value)
    ]
    return fail(f"no decimal string: {', '.join(wrong)}") if wrong else ok(f"{len(found)} of them, strings")


def _base64(evidence: Evidence) -> Judgement:
    wrong: list[str] = []
    count = 0
    for field in fields_of(evidence.bundle):
        if field.name not in BYTES or field.value is None:
            continue
        for text in field.value if isinstance(field.value, list) else [field.value]:
            count += 1
            if not isinstance(text, str) or decode_base64(text) is None:
                wrong.append(field.pointer)
    return fail(f"not standard padded base64: {', '.join(wrong)}") if wrong else ok(f"{count} of them")


def _content(evidence: Evidence) -> Judgement:
    held = [name for name in ("dsseEnvelope", "messageSignature") if at(evidence.bundle, name) is not None]
    return ok(held[0]) if held == ["dsseEnvelope"] else fail(" and ".join(held) or "nothing")


def _one_signature(evidence: Evidence) -> Judgement:
    found = listed(at(evidence.bundle, "dsseEnvelope", "signatures"))
    if len(found) != 1:
        return fail(f"{len(found)}")
    return ok("1") if isinstance(at(found[0], "sig"), str) else fail("1, without a sig")


def _material(evidence: Evidence) -> Judgement:
    named = [
        name
        for name in ("publicKey", "certificate", "x509CertificateChain")
        if at(evidence.bundle, "verificationMaterial", name) is not None
    ]
    return ok(named[0]) if len(named) == 1 else fail(" and ".join(named) or "nothing")


def _leaf_only(evidence: Evidence) -> Judgement:
    material = at(evidence.bundle, "verificationMaterial")
    chain = listed(at(material, "x509CertificateChain", "certificates"))
    leaf = at(material, "certificate", "rawBytes") or at(chain, 0, "rawBytes")
    if at(material, "x509CertificateChain") is not None and evidence.minor >= 3:
        return fail(f"a chain of {len(chain)} in a v0.3 bundle")
    if leaf is None and at(material, "certificate") is None:
        return skip("no certificate")
    der = decode_base64(leaf) if isinstance(leaf, str) else None
    if der is None or not _is_one_der_sequence(der):
        return fail("the certificate is not DER")
    return ok(f"DER, {len(der)} bytes")


def _is_one_der_sequence(der: bytes) -> bool:
    if len(der) < 2 or der[0] != 0x30:
        return False
    if der[1] < 0x80:
        return len(der) == 2 + der[1]
    count = der[1] & 0x7F
    length = int.from_bytes(der[2 : 2 + count], "big")
    return 0 < count <= 4 and length >= 0x80 and len(der) == 2 + count + length


def _keyid(evidence: Evidence) -> Judgement:
    keyid, hint = evidence.keyid, evidence.hint
    if keyid is None:
        return ok("none")
    if hint is not None and keyid != hint:
        return fail(f"{keyid} beside the hint {hint}")
    wanted = evidence.key.openssh_fingerprint if evidence.key else None
    if _FINGERPRINT.fullmatch(keyid) is None or (wanted is not None and keyid != wanted):
        return fail(f"{keyid} is not the OpenSSH fingerprint: Go's verifier skips the signature")
    return ok(keyid)


def _hint(evidence: Evidence) -> Judgement:
    hint, key = evidence.hint, evidence.key
    if hint is None:
        return skip("no key named")
    if key is not None:
        names = hint in (key.hint, key.openssh_fingerprint)
        return ok(hint) if names else skip(f"no id of the key given, and no verifier asks: {hint}")
    known = len(decode_base64(hint) or b"") == 32 or _FINGERPRINT.fullmatch(hint)
    return ok(hint) if known else skip(f"no known form, and no verifier asks: {hint}")


def _limits(evidence: Evidence) -> Judgement:
    entries, stamps = evidence.log_entries, evidence.timestamps
    seen = f"{len(entries)} log entries, {len(stamps)} timestamps"
    if len(entries) > MOST_LOG_ENTRIES or len(stamps) > MOST_TIMESTAMPS:
        return fail(seen)
    if not all(at(stamp, "signedTimestamp") for stamp in stamps):
        return fail("a timestamp without signedTimestamp")
    twice = any(list_.count(element) > 1 for list_ in (entries, stamps) for element in list_)
    return fail(f"{seen}, one of them twice") if twice else ok(seen)


def _inclusion(evidence: Evidence) -> Judgement:
    if not evidence.log_entries:
        return skip("no log entries")
    wanted = [*_ENTRY, *(_PROMISE if evidence.minor == 1 else _PROOF)]
    for entry in evidence.log_entries:
        for steps in wanted:
            if not at(entry, *steps):
                return fail(f"an entry without {'.'.join(steps)}")
    return ok(f"{wanted[-1][0]} in all of {len(evidence.log_entries)}")


def _payload_type(evidence: Evidence) -> Judgement:
    found = at(evidence.bundle, "dsseEnvelope", "payloadType")
    return ok(PAYLOAD_TYPE) if found == PAYLOAD_TYPE else fail(f"{found!r}")


def _signature(evidence: Evidence) -> Judgement:
    if evidence.key is None:
        return skip("no key given")
    payload_type = at(evidence.bundle, "dsseEnvelope", "payloadType")
    if evidence.signature is None or evidence.payload is None or not isinstance(payload_type, str):
        return fail("no signature or payload to be read")
    try:
        evidence.key.verify(evidence.signature, pae(payload_type, evidence.payload))
    except (Refusal, UnicodeEncodeError) as exc:
        return fail(exc.reason if isinstance(exc, Refusal) else "the payload type is no Unicode text")
    return ok(f"{evidence.key.algorithm} by {evidence.key.keyid}")


def _signature_der(evidence: Evidence) -> Judgement:
    signature = evidence.signature or b""
    if evidence.key is not None and not evidence.key.algorithm.startswith("ES"):
        return skip(f"{evidence.key.algorithm} has no DER form")
    if _is_one_der_sequence(signature) and _is_two_integers(signature[2 if signature[1] < 0x80 else 3 :]):
        return ok("an Ecdsa-Sig-Value")
    return (
        skip("no key given, and no Ecdsa-Sig-Value")
        if evidence.key is None
        else fail(f"{len(signature)} bytes")
    )


def _is_two_integers(body: bytes) -> bool:
    for _ in range(2):
        if len(body) < 3 or body[0] != 0x02 or not 0 < body[1] < 0x80 or len(body) < 2 + body[1]:
            return False
        number, body = body[2 : 2 + body[1]], body[2 + body[1] :]
        if number[0] >= 0x80 or (number[0] == 0 and len(number) > 1 and number[1] < 0x80):
            return False
    return not body


def _statement_json(evidence: Evidence) -> Judgement:
    flaw = evidence.statement_flaw
    return ok("one object that reads one way") if flaw is None else fail(flaw)


def _statement_type(evidence: Evidence) -> Judgement:
    found = at(evidence.statement, "_type")
    return ok(str(found)) if isinstance(found, str) and found in STATEMENT_TYPES else fail(f"{found!r}")


def _statement_fields(evidence: Evidence) -> Judgement:
    unknown = sorted((evidence.statement or {}).keys() - _STATEMENT_FIELDS)
    for subject in evidence.subjects:
        unknown.extend(
            sorted(subject.keys() - _DESCRIPTOR_FIELDS) if isinstance(subject, dict) else ["subject"]
        )
    if unknown:
        return fail(f"unknown: {', '.join(unknown)}")
    predicate = at(evidence.statement, "predicate")
    return (
        ok("all of them defined")
        if isinstance(predicate, dict | None)
        else fail("predicate is not an object")
    )


def _predicate_type(evidence: Evidence) -> Judgement:
    found = at(evidence.statement, "predicateType")
    return (
        ok(found)
        if isinstance(found, str) and is_type_uri(found)
        else fail(f"{found!r} is not an absolute URI")
    )


def _subjects(evidence: Evidence) -> Judgement:
    subjects = evidence.subjects
    if not 1 <= len(subjects) <= MOST_SUBJECTS:
        return fail(f"{len(subjects)}")
    for subject in subjects:
        digests = at(subject, "digest")
        if not isinstance(digests, dict) or not 1 <= len(digests) <= MOST_DIGESTS:
            return fail(f"one without 1 to {MOST_DIGESTS} digests")
    return ok(f"{len(subjects)}")


def _digests(evidence: Evidence) -> Judgement:
    seen: set[str] = set()
    for subject in evidence.subjects:
        digests = at(subject, "digest")
        for algorithm, digest in digests.items() if isinstance(digests, dict) else ():
            if not isinstance(digest, str) or _HEX.fullmatch(digest) is None:
                return fail(f"{algorithm} is not lowercase hex")
            if len(digest) != _HEX_LENGTHS.get(algorithm, len(digest)):
                return fail(f"{algorithm} of {len(digest)} digits")
            seen.add(algorithm)
    return ok(", ".join(sorted(seen))) if seen else fail("none")


def _names(evidence: Evidence) -> Judgement:
    names = [name for subject in evidence.subjects if (name := at(subject, "name")) is not None]
    wrong = [name for name in names if not isinstance(name, str) or _CONTROL.search(name)]
    if wrong:
        return fail(f"control characters in {wrong[0]!r}")
    given = [name for name in names if name]
    return ok(f"{len(given)}") if len(set(map(str, given))) == len(given) else fail("one of them twice")


def _artefact(evidence: Evidence) -> Judgement:
    if not evidence.digests:
        return skip("no artefact given")
    for subject in evidence.subjects:
        for algorithm, digest in evidence.digests.items():
            if at(subject, "digest", algorithm) == digest:
                return ok(f"{algorithm} of {at(subject, 'name')}")
    return fail("no subject has a digest of it")


def _rule(
    name: str,
    about: Literal["text", "bundle", "statement"],
    judge: Callable[[Evidence], Judgement],
    source: str,
) -> Rule:
    return Rule(name, about, source, judge)


_PROTOJSON: Final = "protobuf JSON mapping, as protojson reads it"
_BUNDLE: Final = "sigstore protobuf-specs, sigstore_bundle.proto"
_STATEMENT: Final = "in-toto attestation, spec/v1/statement.md"

RULES: Final = (
    _rule("size", "text", _size, "signerd: what a verifier will parse"),
    _rule("json", "text", _json, "RFC 8259; RFC 7493 (I-JSON)"),
    _rule("media-type", "bundle", _media_type, _BUNDLE),
    _rule("fields", "bundle", _fields, _PROTOJSON),
    _rule("integers", "bundle", _integers, f"{_PROTOJSON}; sigstore-python"),
    _rule("base64", "bundle", _base64, "RFC 4648, section 4; sigstore-python"),
    _rule("content", "bundle", _content, _BUNDLE),
    _rule("one-signature", "bundle", _one_signature, "sigstore protobuf-specs#318"),
    _rule("material", "bundle", _material, _BUNDLE),
    _rule("leaf-only", "bundle", _leaf_only, _BUNDLE),
    _rule("keyid", "bundle", _keyid, "sigstore protobuf-specs#148; go-securesystemslib, dsse"),
    _rule("hint", "bundle", _hint, "cosign and npm, as they write it"),
    _rule("limits", "bundle", _limits, "sigstore-go, pkg/verify"),
    _rule("inclusion", "bundle", _inclusion, _BUNDLE),
    _rule("payload-type", "bundle", _payload_type, "sigstore-go, pkg/bundle"),
    _rule("signature", "bundle", _signature, "DSSE v1.0.2, protocol.md"),
    _rule("signature-der", "bundle", _signature_der, "RFC 3279, section 2.2.3; @sigstore/verify"),
    _rule("statement-json", "bundle", _statement_json, "RFC 8259; RFC 7493 (I-JSON)"),
    _rule("statement-type", "statement", _statement_type, _STATEMENT),
    _rule("statement-fields", "statement", _statement_fields, f"{_PROTOJSON}; in-toto ResourceDescriptor"),
    _rule(
        "predicate-type", "statement", _predicate_type, "in-toto attestation, spec/v1/field_types.md, TypeURI"
    ),
    _rule("subjects", "statement", _subjects, f"{_STATEMENT}; sigstore-go, pkg/verify"),
    _rule("digests", "statement", _digests, "in-toto attestation, spec/v1/digest_set.md"),
    _rule("names", "statement", _names, _STATEMENT),
    _rule("artefact", "statement", _artefact, _STATEMENT),
    *PROFILE_RULES,
)
"""Every rule. Names are stable: one is never given to another rule."""
