"""T24: Fulcio, a log or a timestamp authority answers with another key, chain, SCT, proof or digest than the right
one.

Each lie stands in a bundle that is right in everything else, signed and logged for real by a Sigstore of the tests'
own.
"""

import hashlib
import json
from base64 import b64decode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from fakes.sigstore import ISSUER, NOW, SAN, CtLog, Issued, Sigstore, Witnessing, b64, new_key
from signerd.attestation.statement import Subject, build_statement
from signerd.verification.bundle import Verification, verify_bundle
from signerd.verification.certificates import Identity
from signerd.verification.checkpoint import Witness
from signerd.verification.evidence import Requirements
from signerd.verification.trusted_root import parse_trusted_root

STACK = Sigstore()
IDENTITY = Identity(SAN, ISSUER)
PAYLOAD = build_statement([Subject("app", {"sha256": "0" * 64})], "https://example.com/attestation/v1", b"{}")
ROOT = STACK.trusted_root()
KEY = new_key()
DAY = timedelta(days=1)


def judged(bundle: dict[str, Any], root: bytes = ROOT, requirements: Requirements | None = None) -> Verification:
    return verify_bundle(
        json.dumps(bundle).encode(),
        IDENTITY,
        trusted_root=parse_trusted_root(root),
        requirements=requirements,
        now=NOW + timedelta(hours=1),
    )


def failed(verification: Verification) -> tuple[str, str]:
    assert not verification.verified
    assert (verification.statement, verification.times, verification.san) == (None, (), None)
    assert verification.failure is not None
    return verification.failure.name, verification.failure.reason


def test_the_truth_passes() -> None:
    verification = judged(STACK.keyless(PAYLOAD))
    assert verification.verified, verification.failure
    assert (verification.san, verification.issuer) == (SAN, ISSUER)
    assert (verification.log_entries, verification.timestamps, verification.times) == (1, 1, (NOW,))
    assert {check.name: check.outcome for check in verification.checks if check.name != "subject"}["sct"] == "passed"


# Fulcio: the certificate and its SCT

OTHER_CA = Issued.root("ca root").intermediate("ca")
NOT_FOR_CODE = STACK.root.intermediate("ca for TLS", usage=ExtendedKeyUsageOID.SERVER_AUTH)
EXPIRED_CA = STACK.root.intermediate("old ca", start=NOW - 2 * DAY, end=NOW - DAY)


def another_certificate(_certificate: x509.Certificate) -> x509.Certificate:
    return x509.load_der_x509_certificate(STACK.leaf(new_key(), scts=[]))


FULCIO: dict[str, tuple[dict[str, Any], str, str]] = {
    "expired": ({"start": NOW - DAY, "end": NOW - DAY / 2}, "certificate", "certificate_expired"),
    "not yet valid": ({"start": NOW + DAY, "end": NOW + 2 * DAY}, "certificate", "certificate_not_yet_valid"),
    "wrong usage": ({"usage": ExtendedKeyUsageOID.SERVER_AUTH}, "material", "certificate_usage"),
    "no usage": ({"usage": None}, "material", "certificate_usage"),
    "another identity": ({"san": "https://ci.example/other.yml@refs/heads/main"}, "identity", "identity_mismatch"),
    "another issuer": ({"issuer": "https://token.ci.example.evil"}, "identity", "issuer_mismatch"),
    "an authority's": (
        {"extra": [(x509.BasicConstraints(True, None), True)]},
        "material",
        "certificate_is_ca",
    ),
    "with a critical extension that nobody knows": (
        {"extra": [(x509.IssuerAlternativeName([x509.DNSName("x")]), True)]},
        "material",
        "critical_extension",
    ),
    "by an unknown authority of the same name": ({"ca": OTHER_CA}, "certificate", "authority_unknown"),
    "by an authority for something else": ({"ca": NOT_FOR_CODE}, "certificate", "authority_unknown"),
    "no SCT": ({"scts": []}, "sct", "sct_missing"),
    "SCT of another log": ({"scts": [CtLog()]}, "sct", "sct_log_unknown"),
    "SCT from before its log": ({"sct_at": NOW - 300 * DAY}, "sct", "sct_window"),
    "SCT over another certificate": ({"sct_over": another_certificate}, "sct", "sct_signature"),
}


@pytest.mark.parametrize(("lie", "name", "reason"), FULCIO.values(), ids=FULCIO)
def test_a_certificate_that_is_not_right(lie: dict[str, Any], name: str, reason: str) -> None:
    assert failed(judged(STACK.keyless(PAYLOAD, key=KEY, leaf=STACK.leaf(KEY, **lie)))) == (name, reason)


def test_a_certificate_for_another_key() -> None:
    assert failed(judged(STACK.keyless(PAYLOAD, key=KEY, leaf=STACK.leaf(new_key())))) == (
        "signature",
        "signature_invalid",
    )


def also_trusted(*chain: Issued) -> bytes:
    def change(root: dict[str, Any]) -> None:
        more = json.loads(json.dumps(root["certificateAuthorities"][0]))
        more["certChain"]["certificates"] = [{"rawBytes": b64(der_of(one))} for one in chain]
        root["certificateAuthorities"] = [more]

    return STACK.trusted_root(change)


def der_of(issued: Issued) -> bytes:
    return issued.certificate.public_bytes(Encoding.DER)


def test_a_chain_through_an_authority_that_may_not_or_no_longer() -> None:
    for issuer, reason in ((NOT_FOR_CODE, "certificate_usage"), (EXPIRED_CA, "chain_expired")):
        bundle = STACK.keyless(PAYLOAD, key=KEY, leaf=STACK.leaf(KEY, ca=issuer))
        assert failed(judged(bundle, also_trusted(issuer, STACK.root))) == ("certificate", reason)


def window(kind: str, index: int, **said: str) -> bytes:
    def change(root: dict[str, Any]) -> None:
        entry = root[kind][index]
        entry.get("publicKey", entry)["validFor"] = said

    return STACK.trusted_root(change)


def test_an_authority_outside_its_window() -> None:
    bundle = STACK.keyless(PAYLOAD)
    for said in ({"start": "2026-05-01T12:00:01Z"}, {"start": "2026-01-01T00:00:00Z", "end": "2026-05-01T11:59:59Z"}):
        assert failed(judged(bundle, window("certificateAuthorities", 0, **said))) == (
            "certificate",
            "authority_window",
        )
        assert failed(judged(bundle, window("timestampAuthorities", 0, **said))) == ("timestamp", "authority_window")
        assert failed(judged(bundle, window("ctlogs", 0, **said))) == ("sct", "sct_window")
    # A start is all that a log must have; this one's is too late, or it had ended.
    assert failed(judged(bundle, window("tlogs", 1, start="2026-05-01T12:00:01Z"))) == ("log_window", "log_window")
    ended = window("tlogs", 1, start="2026-01-01T00:00:00Z", end="2026-05-01T11:59:59Z")
    assert failed(judged(bundle, ended)) == ("log_window", "log_window")
    assert judged(bundle, window("timestampAuthorities", 0, start="2026-05-01T12:00:00Z")).verified
    assert judged(bundle, window("timestampAuthorities", 0, end="2026-05-01T12:00:00Z")).verified


# The timestamp authority

FOREIGN = Issued.root("tsa root")
MISUSED = STACK.tsa_leaf(usage=ExtendedKeyUsageOID.CODE_SIGNING)
LAX = STACK.tsa_leaf(critical=False)
OLD = STACK.tsa_leaf(start=NOW - 2 * DAY, end=NOW - DAY)
UNTRUSTED = STACK.tsa_leaf(authority=FOREIGN)

TSA: dict[str, tuple[Callable[[bytes], bytes], str, str]] = {
    "over other bytes": (lambda _: STACK.stamp(b"other"), "timestamp", "stamp_imprint"),
    "after the certificate": (lambda s: STACK.stamp(s, NOW + DAY / 96), "certificate", "certificate_expired"),
    "before the certificate": (lambda s: STACK.stamp(s, NOW - DAY / 96), "certificate", "certificate_not_yet_valid"),
    "outside the stamping certificate": (
        lambda s: STACK.stamp(s, NOW - 60 * DAY),
        "timestamp",
        "certificate_not_yet_valid",
    ),
    "in the future": (lambda s: STACK.stamp(s, NOW + DAY), "timestamp", "time_in_future"),
    "by another key": (lambda s: STACK.stamp(s, key=new_key()), "timestamp", "stamp_signature"),
    "by an unknown authority": (
        lambda s: STACK.stamp(s, certificate=UNTRUSTED, embed=True),
        "certificate",
        "no_trusted_time",
    ),
    "committing to another certificate": (
        lambda s: STACK.stamp(s, commits_to=STACK.root.certificate),
        "timestamp",
        "stamp_signing_certificate",
    ),
    "refused": (lambda s: STACK.stamp(s, status=2), "timestamp", "stamp_rejected"),
    "cut short": (lambda s: STACK.stamp(s)[:-1], "timestamp", "stamp_malformed"),
    "longer": (lambda s: STACK.stamp(s) + b"\0", "timestamp", "stamp_malformed"),
    "a page": (lambda _: b"<html>", "timestamp", "stamp_malformed"),
}


@pytest.mark.parametrize(("lie", "name", "reason"), TSA.values(), ids=TSA)
def test_a_stamp_that_is_not_right(lie: Callable[[bytes], bytes], name: str, reason: str) -> None:
    assert failed(judged(STACK.keyless(PAYLOAD, stamps=lambda signature: [lie(signature)]))) == (name, reason)


def anchor_only(root: dict[str, Any]) -> None:
    """The trusted root names the authority's root alone: stamping certificates come with the stamps."""
    del root["timestampAuthorities"][0]["certChain"]["certificates"][0]


def test_an_embedded_stamping_certificate_is_judged_as_a_named_one() -> None:
    root = STACK.trusted_root(anchor_only)

    def stamped(certificate: x509.Certificate, embed: bool = True) -> Verification:
        bundle = STACK.keyless(
            PAYLOAD, stamps=lambda signature: [STACK.stamp(signature, certificate=certificate, embed=embed)]
        )
        return judged(bundle, root)

    assert stamped(STACK.tsa).verified
    assert failed(stamped(STACK.tsa, embed=False)) == ("certificate", "no_trusted_time")
    assert failed(stamped(MISUSED)) == ("timestamp", "stamp_usage")
    assert failed(stamped(LAX)) == ("timestamp", "stamp_usage")
    assert failed(stamped(OLD)) == ("timestamp", "certificate_expired")
    assert failed(stamped(UNTRUSTED)) == ("timestamp", "authority_unknown")


def test_one_good_stamp_does_not_excuse_a_false_one() -> None:
    bundle = STACK.keyless(PAYLOAD, stamps=lambda signature: [STACK.stamp(signature), STACK.stamp(b"other")])
    assert failed(judged(bundle)) == ("timestamp", "stamp_imprint")
    unknown = STACK.keyless(
        PAYLOAD, stamps=lambda signature: [STACK.stamp(signature), STACK.stamp(signature, certificate=UNTRUSTED)]
    )
    assert judged(unknown).verified


# The log


def entry(bundle: dict[str, Any]) -> Any:
    return bundle["verificationMaterial"]["tlogEntries"][0]


def proof(bundle: dict[str, Any]) -> Any:
    return entry(bundle)["inclusionProof"]


def set_checkpoint(bundle: dict[str, Any], **said: Any) -> None:
    root = b64decode(proof(bundle)["rootHash"])
    size = said.pop("size", 5)
    proof(bundle)["checkpoint"]["envelope"] = STACK.checkpoint(size, said.pop("root", root), **said)


def reindex(bundle: dict[str, Any]) -> None:
    proof(bundle)["logIndex"] = entry(bundle)["logIndex"] = "3"


def resize(bundle: dict[str, Any]) -> None:
    proof(bundle)["treeSize"] = "6"
    set_checkpoint(bundle, size=7)


def wrong_size(bundle: dict[str, Any]) -> None:
    """Said of a tree of another size by the log itself: the proof does not fit it."""
    proof(bundle)["treeSize"] = "9"
    set_checkpoint(bundle, size=9)


def drop_hash(bundle: dict[str, Any]) -> None:
    proof(bundle)["hashes"].pop()


def alter_body(bundle: dict[str, Any]) -> None:
    body = json.loads(b64decode(entry(bundle)["canonicalizedBody"]))
    body["spec"]["hashedRekordV002"]["data"]["digest"] = b64(bytes(32))
    encoded = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    entry(bundle)["canonicalizedBody"] = b64(encoded)


def respell_body(bundle: dict[str, Any]) -> None:
    """The same JSON in another spelling: another leaf."""
    entry(bundle)["canonicalizedBody"] = b64(b64decode(entry(bundle)["canonicalizedBody"]) + b" ")


def another_log(bundle: dict[str, Any]) -> None:
    entry(bundle)["logId"]["keyId"] = b64(bytes(32))


def unsigned(bundle: dict[str, Any]) -> None:
    note = proof(bundle)["checkpoint"]["envelope"]
    witness = Witnessing()
    body = note.partition("\n\n")[0] + "\n"
    proof(bundle)["checkpoint"]["envelope"] = f"{body}\n{witness.line(body.encode())}"


LOG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another index": (reindex, "inclusion_proof"),
    "another size than its checkpoint": (resize, "checkpoint_size"),
    "wrong tree size": (wrong_size, "inclusion_proof"),
    "a hash too few": (drop_hash, "inclusion_proof"),
    "altered body": (alter_body, "log_entry_body"),
    "body in another spelling": (respell_body, "log_entry_body"),
    "of a log that is not known": (another_log, "log_unknown"),
    "checkpoint of another log": (lambda b: set_checkpoint(b, origin="other.example"), "checkpoint_origin"),
    "checkpoint by another key": (
        lambda b: set_checkpoint(b, key=ed25519.Ed25519PrivateKey.generate()),
        "checkpoint_signature",
    ),
    "checkpoint of another root": (lambda b: set_checkpoint(b, root=bytes(32)), "checkpoint_root"),
    "checkpoint by a witness alone": (unsigned, "checkpoint_unsigned"),
    "no entry": (lambda b: b["verificationMaterial"].pop("tlogEntries"), "log_entry_missing"),
}


@pytest.mark.parametrize(("lie", "reason"), LOG.values(), ids=LOG)
def test_a_log_entry_that_is_not_right(lie: Callable[[dict[str, Any]], object], reason: str) -> None:
    bundle = STACK.keyless(PAYLOAD)
    lie(bundle)
    assert failed(judged(bundle)) == ("transparency", reason)


def test_an_entry_about_another_signature_key_or_digest() -> None:
    """GHSA-whqx-f9j3-ch6m: an entry that stands in the log for real, but for something else."""
    other = new_key()
    leaf, other_leaf = STACK.leaf(KEY), STACK.leaf(other)
    certificate = {"x509Certificate": {"rawBytes": b64(leaf)}}

    def about(digest: bytes, signature: bytes, verifier: dict[str, Any]) -> tuple[str, str]:
        def entries(_digest: bytes, _signature: bytes) -> list[dict[str, Any]]:
            return [STACK.entry2(STACK.hashedrekord2(digest or _digest, signature or _signature, verifier))]

        return failed(judged(STACK.keyless(PAYLOAD, key=KEY, leaf=leaf, entries=entries)))

    wrong = ("transparency", "log_entry_body")
    assert about(b"", other.sign(b"x", ec.ECDSA(SHA256())), certificate) == wrong
    assert about(hashlib.sha256(b"x").digest(), b"", certificate) == wrong
    assert about(b"", b"", {"x509Certificate": {"rawBytes": b64(other_leaf)}}) == wrong


def test_witnesses_are_counted_and_may_not_lie() -> None:
    first, second, third = (Witnessing(f"w{n}.example") for n in range(3))
    known = [Witness.parse(first.vkey), Witness.parse(second.vkey)]

    def witnessed(*by: Witnessing, needed: int) -> Verification:
        requirements = Requirements(witnesses=known, witness_threshold=needed)
        return judged(STACK.keyless(PAYLOAD, witnesses=by), requirements=requirements)

    assert witnessed(second, first, needed=2).witnesses == 2
    assert witnessed(third, first, needed=1).witnesses == 1
    assert failed(witnessed(first, needed=2)) == ("witnesses", "witnesses_missing")
    assert failed(witnessed(first, first, needed=2)) == ("witnesses", "witnesses_missing")
    assert failed(witnessed(third, needed=1)) == ("witnesses", "witnesses_missing")
    liar = Witnessing(second.name)
    bundle = STACK.keyless(PAYLOAD, witnesses=[first])
    note = proof(bundle)["checkpoint"]["envelope"]
    line = liar.line((note.partition("\n\n")[0] + "\n").encode())
    _, name, encoded = line.split(" ")
    forged = second.hint + b64decode(encoded)[4:]
    proof(bundle)["checkpoint"]["envelope"] = f"{note}\N{EM DASH} {name} {b64(forged)}\n"
    requirements = Requirements(witnesses=known, witness_threshold=1)
    assert failed(judged(bundle, requirements=requirements)) == ("transparency", "witness_signature")
    # Without anybody asking for witnesses such a line is one of many that mean nothing.
    assert judged(bundle).verified
