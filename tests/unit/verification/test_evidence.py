import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fakes.sigstore import NOW, Sigstore, Witnessing, b64
from signerd.attestation.bundle import Bundle, parse_bundle
from signerd.attestation.dsse import Envelope
from signerd.verification.certificates import Authority, SigningCertificate
from signerd.verification.checkpoint import Witness
from signerd.verification.checks import Checks
from signerd.verification.evidence import (
    Evidence,
    Requirements,
    check_certificate,
    check_log_entries,
    check_log_windows,
    check_timestamps,
)
from signerd.verification.signed import Signed
from signerd.verification.trusted_root import TrustedRoot, parse_trusted_root

STACK = Sigstore()
ROOT = parse_trusted_root(STACK.trusted_root())
EMPTY = TrustedRoot((), (), (), ())


def read(**changes: Any) -> tuple[Bundle, SigningCertificate, Signed]:
    bundle = parse_bundle(json.dumps(STACK.keyless(b"{}", **changes)).encode())
    leaf = SigningCertificate.read(bundle.certificates[0])
    assert isinstance(bundle.content, Envelope)
    return bundle, leaf, Signed.over_envelope(bundle.content, leaf.key, leaf.der)


BUNDLE, LEAF, SIGNED = read()


def made(checks: Checks) -> list[tuple[str, str, str]]:
    return [(check.name, check.outcome, check.reason) for check in checks.made]


def test_entries_and_stamps_are_counted() -> None:
    checks, found = Checks(), Evidence()
    check_log_entries(checks, found, BUNDLE, SIGNED, ROOT, Requirements(), NOW)
    check_timestamps(checks, found, BUNDLE, SIGNED, ROOT, Requirements(timestamps=1), NOW)
    check_certificate(checks, found, LEAF, ROOT, Requirements())
    assert made(checks) == [
        ("transparency", "passed", ""),
        ("timestamp", "passed", ""),
        ("certificate", "passed", ""),
        ("sct", "passed", ""),
    ]
    assert (found.log_entries, found.timestamps, found.times, found.witnesses) == (1, 1, [NOW], 0)


@pytest.mark.parametrize(
    ("requirements", "expected"),
    [
        (Requirements(log_entries=0), [("transparency", "skipped", ""), ("timestamp", "skipped", "")]),
        (
            Requirements(log_entries=1, timestamps=1),
            [("transparency", "failed", "log_unknown"), ("timestamp", "failed", "stamp_authority_unknown")],
        ),
    ],
)
def test_what_an_unknown_log_or_authority_says_counts_for_nothing(requirements: Requirements, expected: Any) -> None:
    checks, found = Checks(), Evidence()
    check_log_entries(checks, found, BUNDLE, SIGNED, EMPTY, requirements, NOW)
    check_timestamps(checks, found, BUNDLE, SIGNED, EMPTY, requirements, NOW)
    assert made(checks) == expected
    assert found == Evidence()


def test_a_second_entry_must_hold_too() -> None:
    wrong = STACK.entry2(STACK.hashedrekord2(bytes(32), b"", {"publicKey": {"rawBytes": ""}}))
    right = json.loads(json.dumps(STACK.keyless(b"{}")))["verificationMaterial"]["tlogEntries"][0]
    unknown = json.loads(json.dumps(wrong))
    unknown["logId"]["keyId"] = b64(bytes(32))
    bundle, _, signed = read(entries=lambda _digest, _signature: [wrong, right])
    checks = Checks()
    check_log_entries(checks, Evidence(), bundle, signed, ROOT, Requirements(), NOW)
    assert made(checks) == [("transparency", "failed", "log_entry_body")]


def test_times_that_have_not_come_yet() -> None:
    at = NOW - timedelta(minutes=6)
    checks = Checks()
    check_timestamps(checks, Evidence(), BUNDLE, SIGNED, ROOT, Requirements(), at)
    assert made(checks) == [("timestamp", "failed", "time_in_future")]
    checks = Checks()
    check_timestamps(checks, Evidence(), BUNDLE, SIGNED, ROOT, Requirements(), at + timedelta(minutes=2))
    assert made(checks) == [("timestamp", "passed", "")]


def test_witnesses_are_asked_for_by_number() -> None:
    witness = Witnessing()
    bundle, _, signed = read(witnesses=[witness])
    for needed, outcome in ((1, "passed"), (2, "failed")):
        checks, found = Checks(), Evidence()
        known = Requirements(witnesses=[Witness.parse(witness.vkey)], witness_threshold=needed)
        check_log_entries(checks, found, bundle, signed, ROOT, known, NOW)
        assert [(name, how) for name, how, _ in made(checks)] == [("transparency", "passed"), ("witnesses", outcome)]
        assert found.witnesses == 1


def test_a_log_that_tells_no_time_is_judged_at_those_that_are_proven() -> None:
    log = ROOT.logs[1]
    for times, expected in (
        ([], [("log_window", "passed", "")]),
        ([NOW], [("log_window", "passed", "")]),
        ([NOW - timedelta(days=300), NOW], [("log_window", "passed", "")]),
        ([NOW - timedelta(days=300)], [("log_window", "failed", "log_window")]),
    ):
        checks = Checks()
        check_log_windows(checks, Evidence(times=list(times), untimed=[log]), NOW)
        assert made(checks) == expected
    checks = Checks()
    check_log_windows(checks, Evidence(times=[NOW]), NOW)
    assert made(checks) == []
    # Where nothing proves a time, whoever has the key of a log that has ended could have made the entry today.
    check_log_windows(checks, Evidence(untimed=[replace(log, end=NOW - timedelta(seconds=1))]), NOW)
    assert made(checks) == [("log_window", "failed", "log_window")]


def test_a_leaf_that_the_root_names_as_its_own_anchor_has_no_issuer_to_sign_scts_for() -> None:
    pinned = replace(
        ROOT, certificate_authorities=(Authority("", "", (LEAF.certificate,), None, None),)
    )
    checks = Checks()
    check_certificate(checks, Evidence(times=[NOW]), LEAF, pinned, Requirements())
    assert made(checks) == [("certificate", "passed", ""), ("sct", "failed", "sct_signature")]


def test_a_certificate_is_judged_at_every_proven_time() -> None:
    for times, reason in (
        ([], "no_trusted_time"),
        ([NOW, NOW + timedelta(hours=1)], "certificate_expired"),
    ):
        checks = Checks()
        check_certificate(checks, Evidence(times=list(times)), LEAF, ROOT, Requirements())
        assert made(checks) == [("certificate", "failed", reason)]
    checks = Checks()
    check_certificate(checks, Evidence(times=[NOW]), LEAF, ROOT, Requirements(sct=False))
    assert made(checks) == [("certificate", "passed", ""), ("sct", "skipped", "")]
