"""``signerctl verify``: did this key, this identity, or whom this policy trusts, sign this? Asks nobody: no daemon, no
network."""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NoReturn, TypeVar

import msgspec

from signerd.attestation.bundle import LARGEST_BUNDLE
from signerd.attestation.cose import FIRST_BYTE
from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.errors import Refusal, exit_code
from signerd.verification.bundle import Check, Verification, verify_bundle, verify_envelope
from signerd.verification.certificates import Identity
from signerd.verification.cose import verify_cose_statement
from signerd.verification.evaluation import Evaluation, evaluate
from signerd.verification.keys import PublicKey
from signerd.verification.policy import LARGEST_POLICY, parse_policy
from signerd.verification.trusted_root import LARGEST_TRUSTED_ROOT, TrustedRoot, parse_trusted_root
from signerd.verification.validity import LARGEST_PUBLICATION, KeyValidity, read_validities, within_validity
from signerd_client.files import read_file, unreadable
from signerd_client.output import json_text, note, table, write_stdout
from signerd_client.subjects import file_sha256

__all__ = ["run"]

_T = TypeVar("_T")
_LARGEST_PEM: Final = 64 * 1024

_SHORT_NAMES: Final = {
    "cyclonedx": "https://cyclonedx.org/bom",
    "openvex": "https://openvex.dev/ns",
    "report": "https://stella-ops.org/attestations/report/v1",
    "slsaprovenance": "https://slsa.dev/provenance/v0.2",
    "slsaprovenance02": "https://slsa.dev/provenance/v0.2",
    "slsaprovenance1": "https://slsa.dev/provenance/v1",
    "spdx": "https://spdx.dev/Document",
    "spdxjson": "https://spdx.dev/Document",
}
"""Short names of ``--type``, as cosign resolves them, and our own report; the bundle itself holds the URI
alone."""


def run(arguments: argparse.Namespace) -> int:
    """Verify; 0 where it does, 6 for any bundle that does not, malformed ones included."""
    _check_usage(arguments)
    keys = [_parsed(path, _LARGEST_PEM, PublicKey.from_pem) for path in arguments.key]
    root = None
    if arguments.trusted_root is not None:
        root = _parsed(arguments.trusted_root, LARGEST_TRUSTED_ROOT + 1, parse_trusted_root)
    if arguments.policy is not None:
        return _run_policy(arguments, keys, root)
    verification = _verify(arguments, keys, root)
    if arguments.published is not None:
        now, validities = time.time_ns() // 1_000_000, _published(arguments.published)
        for key in keys:
            judged = within_validity(replace(verification, keyid=key.keyid), validities, now)
            verification = replace(judged, keyid=verification.keyid)
    _print(arguments, verification, keys)
    if not verification.verified:
        return _refused(verification.failure)
    if verification.predicate_type is not None and arguments.type is None:
        note(f"note: without --type any type passes; this one is {verification.predicate_type}")
    if arguments.subject is None and arguments.payload_type is None:
        note("note: without --subject any artefact passes; none was compared")
    note("verified")
    return 0


def _published(folder: str) -> dict[str, KeyValidity]:
    texts = [
        read_file(os.path.join(folder, name), LARGEST_PUBLICATION + 1) for name in ("jwks.json", "revocations.json")
    ]
    try:
        return read_validities(*texts)
    except Refusal as refusal:
        raise Refusal("request.malformed", refusal.reason, f"{folder}: {refusal.public}") from refusal


def _check_usage(arguments: argparse.Namespace) -> None:
    identity, issuer = arguments.certificate_identity, arguments.certificate_oidc_issuer
    if arguments.published is not None and (arguments.policy is not None or identity is not None):
        _usage("published_for_keys", "--published says when a --key was valid, and goes with nothing else")
    if arguments.payload_type is not None and (arguments.subject is not None or arguments.type is not None):
        _usage("payload_type_alone", "what --payload-type names is no Statement, and has no --subject and no --type")
    if arguments.policy is not None:
        if arguments.payload_type is not None:
            _usage("payload_type_alone", "--payload-type is of an envelope, and a policy takes bundles alone")
        if identity is not None or issuer is not None or arguments.type is not None:
            _usage("policy_alone", "--policy says itself which identities and types it takes")
        return
    if len(arguments.bundle) > 1:
        _usage("several_bundles", "several bundles are verified together with --policy alone")
    if (identity is None) != (issuer is None):
        _usage("identity_incomplete", "--certificate-identity and --certificate-oidc-issuer belong together")
    if identity is not None and arguments.key:
        _usage("key_or_identity", "--key and --certificate-identity exclude each other")
    if identity is not None and arguments.trusted_root is None:
        _usage("trusted_root_missing", "--trusted-root is needed to verify a certificate")
    if identity is None and not arguments.key:
        # Nothing that stands in a bundle is a trust anchor: whoever signed it chose it.
        _usage(
            "key_missing",
            "--key, --certificate-identity with --certificate-oidc-issuer, or --policy is needed: "
            "a bundle cannot vouch for itself",
        )


def _verify(arguments: argparse.Namespace, keys: Sequence[PublicKey], root: TrustedRoot | None) -> Verification:
    (path,) = arguments.bundle
    text = read_file(path, LARGEST_BUNDLE + 1)
    if _is_envelope(text):
        return _verify_envelope(arguments, text, keys, root)
    if arguments.payload_type is not None:
        _usage("payload_type_alone", f"--payload-type is of a DSSE envelope that stands alone, and {path} is none")
    if len(keys) > 1:
        _usage("several_keys", "one --key is taken, several with --policy or of an envelope alone")
    if text.startswith(FIRST_BYTE):
        return _verify_cose(arguments, text, keys, root)
    signer = keys[0] if keys else Identity(arguments.certificate_identity, arguments.certificate_oidc_issuer)
    digest, kind = _artifact(arguments.subject), _predicate_type(arguments.type)
    verification = verify_bundle(
        text, signer, artifact_sha256=digest, predicate_type=kind, trusted_root=root
    )
    failure = verification.failure
    if failure is None or failure.reason != "artifact_needed" or arguments.subject is None:
        return verification
    # A signature over the file itself by a key that does not hash with SHA-256.
    content = read_file(arguments.subject)
    return verify_bundle(text, signer, artifact=content, predicate_type=kind, trusted_root=root)


class _Form(msgspec.Struct):
    """What tells an envelope that stands alone from a bundle, which has one within."""

    payloadType: str  # noqa: N815  the field's name in DSSE


def _is_envelope(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=_Form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _verify_envelope(
    arguments: argparse.Namespace, text: bytes, keys: Sequence[PublicKey], root: TrustedRoot | None
) -> Verification:
    """Verify a DSSE envelope, beside which there is nothing: every key that was named must have signed."""
    if root is not None or not keys:
        _usage("envelope_by_key", "an envelope that stands alone is verified by --key, without --trusted-root")
    distinct = tuple(dict.fromkeys(keys))
    return verify_envelope(
        text,
        distinct,
        threshold=len(distinct),
        artifact_sha256=_artifact(arguments.subject),
        predicate_type=_predicate_type(arguments.type),
        payload_type=arguments.payload_type or PAYLOAD_TYPE,
    )


def _verify_cose(
    arguments: argparse.Namespace, message: bytes, keys: Sequence[PublicKey], root: TrustedRoot | None
) -> Verification:
    """Verify a COSE_Sign1 message, beside which there is nothing."""
    if root is not None or not keys:
        _usage("cose_by_key", "a COSE message is verified by --key, without --trusted-root")
    digest, kind = _artifact(arguments.subject), _predicate_type(arguments.type)
    return verify_cose_statement(message, keys[0], artifact_sha256=digest, predicate_type=kind)


def _run_policy(arguments: argparse.Namespace, keys: Sequence[PublicKey], root: TrustedRoot | None) -> int:
    policy = _parsed(arguments.policy, LARGEST_POLICY + 1, parse_policy)
    texts = [read_file(path, LARGEST_BUNDLE + 1) for path in arguments.bundle]
    for path, text in zip(arguments.bundle, texts, strict=True):
        if text.startswith(FIRST_BYTE) or _is_envelope(text):
            note(f"note: {path} is no bundle, and a policy takes bundles alone; --key verifies it")
    evaluation = evaluate(
        policy,
        texts,
        keys=keys,
        trusted_root=root,
        artifact_sha256=_artifact(arguments.subject),
    )
    if arguments.output == "table":
        rows = _rows("policy", evaluation.checks)
        for path, verification in zip(arguments.bundle, evaluation.bundles, strict=True):
            rows += _rows(path, verification.checks)
        write_stdout(table(("OF", "CHECK", "OUTCOME", "DETAIL"), rows).encode())
    else:
        said = {"id": policy.policy_id, "version": policy.version, "sha256": policy.digest}
        write_stdout(json_text({"policy": said, **_answer_of(evaluation)}))
    if not evaluation.verified:
        return _refused(evaluation.failure)
    if arguments.subject is None:
        note("note: without --subject any artefact passes; none was compared")
    note(f"verified by policy {policy.policy_id} {policy.version}")
    return 0


def _refused(failure: Check | None) -> int:
    why = "no check passed" if failure is None else f"{failure.name} ({failure.reason}): {failure.detail}"
    note(f"signerctl: does not verify: {why}")
    return exit_code("verification.failed")


def _parsed(path: str, limit: int, parse: Callable[[bytes], _T]) -> _T:
    try:
        return parse(read_file(path, limit))
    except Refusal as refusal:
        if refusal.reason == "unreadable_file":
            raise
        # A wrong file is wrong usage, whichever code its reader has for it.
        raise Refusal("request.malformed", refusal.reason, f"{path}: {refusal.public}") from refusal


def _artifact(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return file_sha256(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def _predicate_type(name: str | None) -> str | None:
    if name is None or ":" in name or "@" in name:
        return name
    found = _SHORT_NAMES.get(name)
    if found is None:
        text = f"--type {name}: a URI is needed, or one of {', '.join(_SHORT_NAMES)}"
        raise Refusal("request.malformed", "type_unknown", text)
    return found


def _print(arguments: argparse.Namespace, verification: Verification, keys: Sequence[PublicKey]) -> None:
    if arguments.output == "table":
        rows = [(check.name, check.outcome, check.detail) for check in verification.checks]
        write_stdout(table(("CHECK", "OUTCOME", "DETAIL"), rows).encode())
        return
    answer = _answer(verification)
    if verification.verified and verification.keyid is None:
        answer["signer"] = {"keyids": [key.keyid for key in dict.fromkeys(keys)]}
    write_stdout(json_text(answer))


def _rows(of: str, checks: Sequence[Check]) -> list[tuple[str, ...]]:
    return [(of, check.name, check.outcome, check.detail) for check in checks]


def _checks(checks: Sequence[Check]) -> list[dict[str, str]]:
    return [
        {"name": check.name, "outcome": check.outcome, "detail": check.detail}
        | ({"reason": check.reason} if check.reason else {})
        for check in checks
    ]


def _answer_of(evaluation: Evaluation) -> dict[str, object]:
    return {
        "verified": evaluation.verified,
        "checks": _checks(evaluation.checks),
        "transparency": evaluation.transparency,
        "rationale": list(evaluation.rationale),
        "bundles": [_answer(verification) for verification in evaluation.bundles],
    }


def _answer(verification: Verification) -> dict[str, object]:
    answer: dict[str, object] = {
        "verified": verification.verified,
        "checks": _checks(verification.checks),
        "transparency": verification.transparency,
    }
    if verification.predicate_type is not None:
        answer["predicate_type"] = verification.predicate_type
        answer["subject"] = [
            {"name": subject.name, "digest": dict(subject.digest)} for subject in verification.subjects
        ]
    if verification.verified:
        answer["signer"] = (
            {"keyid": verification.keyid}
            if verification.san is None
            else {"san": verification.san, "issuer": verification.issuer}
        )
        answer["times"] = [at.isoformat() for at in verification.times]
    return answer


def _usage(reason: str, text: str) -> NoReturn:
    raise Refusal("request.malformed", reason, text)
