"""The evaluation of a verification policy over bundles: pure, offline, a reason for each check."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from signerd.attestation.bundle import parse_bundle
from signerd.errors import Refusal
from signerd.verification.bundle import verify_bundle
from signerd.verification.certificates import Identity, SigningCertificate
from signerd.verification.checks import Check, Checks, Outcome, Verification
from signerd.verification.keys import PublicKey
from signerd.verification.policy import Policy
from signerd.verification.trusted_root import TrustedRoot

__all__ = ["Evaluation", "evaluate"]

_Signer = PublicKey | Identity


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came of a policy. ``checks`` are the policy's own; ``bundles`` what came of each bundle, in order,
    of which those count that are verified. ``transparency``: passed where a log entry of a counted bundle was
    proven, failed where one was needed and is not."""

    verified: bool
    checks: tuple[Check, ...]
    transparency: Outcome
    bundles: tuple[Verification, ...]

    @property
    def rationale(self) -> tuple[str, ...]:
        """One sentence for each check, the policy's own first."""
        return tuple(_sentences(self))

    @property
    def failure(self) -> Check | None:
        """The first of the policy's checks that failed."""
        return next((check for check in self.checks if check.outcome == "failed"), None)


def evaluate(
    policy: Policy,
    bundles: Sequence[bytes],
    *,
    keys: Sequence[PublicKey] = (),
    trusted_root: TrustedRoot | None = None,
    artifact_sha256: str | None = None,
    tenant: str | None = None,
    now: datetime | None = None,
) -> Evaluation:
    """Evaluate ``policy`` over ``bundles``, each one signature.

    ``keys`` are those that its fingerprints may name; other keys are ignored. ``artifact_sha256`` is the digest
    of what they must be about. The policy's checks, in order: ``tenant_scope`` (skipped without ``tenant``) and
    ``signatures``: as many distinct trusted signers as it demands signed one and the same statement, each as
    the policy has it. The checks of each bundle are those of ``verify_bundle`` and ``signer`` (trusted by the
    policy), ``predicate_type`` (one of the policy's), ``freshness`` (a proven time within its window and age).
    Raises nothing for bundles that do not verify.
    """
    at = now or datetime.now(UTC)
    checks = Checks()
    if tenant is None:
        checks.skipped("tenant_scope", "no tenant given")
    elif policy.tenant_scope in {"*", tenant}:
        checks.passed("tenant_scope", policy.tenant_scope)
    else:
        checks.failed("tenant_scope", "tenant_scope", "the policy is of another tenant")
    candidates = tuple(key for key in dict.fromkeys((*policy.keys, *keys)) if policy.trusts_key(key))
    judged = tuple(
        _judge(policy, text, candidates, trusted_root, artifact_sha256, at) for text in bundles
    )
    _count(checks, policy, judged)
    if any(verification.verified and verification.log_entries for verification in judged):
        transparency: Outcome = "passed"
    else:
        failed = any(verification.transparency == "failed" for verification in judged)
        transparency = "failed" if failed else "skipped"
    return Evaluation(not checks.any_failed, tuple(checks.made), transparency, judged)


def _judge(
    policy: Policy,
    text: bytes,
    candidates: tuple[PublicKey, ...],
    root: TrustedRoot | None,
    artifact_sha256: str | None,
    now: datetime,
) -> Verification:
    """Verify one bundle as the policy has it."""
    checks = Checks()
    try:
        signers = _signers(policy, text, candidates)
    except Refusal as refusal:
        checks.refused("bundle", refusal)
        return checks.unverified()
    if not signers:
        checks.failed("signer", "signer_untrusted", "no key and no issuer that the policy trusts signed it")
        return checks.unverified()
    needs = policy.requirements
    if root is None and (
        needs.log_entries or needs.timestamps or any(isinstance(signer, Identity) for signer in signers)
    ):
        checks.failed("signer", "trusted_root_missing", "the policy needs a trusted root to be evaluated")
        return checks.unverified()
    verification = checks.unverified()
    for signer in signers:
        verification = verify_bundle(
            text,
            signer,
            artifact_sha256=artifact_sha256,
            trusted_root=root,
            requirements=None if root is None else needs,
            now=now,
        )
        if verification.verified:
            break
    if not verification.verified:
        return verification
    _judge_content(checks, policy, verification, now)
    made = (*verification.checks, *checks.made)
    if checks.any_failed:
        return Verification(False, made)
    return replace(verification, checks=made)


def _signers(policy: Policy, text: bytes, candidates: tuple[PublicKey, ...]) -> Sequence[_Signer]:
    """Return who may have signed: trusted keys, the one that the hint names first, or the certificate's
    identity if it is trusted."""
    bundle = parse_bundle(text)
    if bundle.hint is not None:
        hint = bundle.hint
        return sorted(candidates, key=lambda key: hint not in (key.hint, key.openssh_fingerprint))
    leaf = SigningCertificate.read(bundle.certificates[0])
    algorithms = policy.signers.algorithms
    if leaf.issuer is None or (algorithms and leaf.key.algorithm not in algorithms):
        return ()
    return [Identity(leaf.san, leaf.issuer)] if policy.trusts_identity(leaf.san, leaf.issuer) else ()


def _judge_content(checks: Checks, policy: Policy, verification: Verification, now: datetime) -> None:
    who = verification.keyid if verification.san is None else f"{verification.san} by {verification.issuer}"
    checks.passed("signer", str(who))
    if verification.predicate_type is None:
        checks.failed("predicate_type", "not_an_attestation", "the artefact itself was signed, no statement")
    elif verification.predicate_type in policy.predicate_types:
        checks.passed("predicate_type", verification.predicate_type)
    else:
        checks.failed("predicate_type", "predicate_type_mismatch", f"it is {verification.predicate_type}")
    if (policy.not_before, policy.not_after, policy.max_age) == (None, None, None):
        checks.skipped("freshness", "any time passes")
    elif not verification.times:
        # A time that the signer merely wrote would let whoever stole the key back-date.
        checks.failed("freshness", "no_trusted_time", "nothing proves when it was signed")
    else:
        signed = min(verification.times)
        if policy.not_before is not None and signed < policy.not_before:
            checks.failed("freshness", "before_window", f"signed at {signed.isoformat()}")
        elif policy.not_after is not None and signed > policy.not_after:
            checks.failed("freshness", "after_window", f"signed at {signed.isoformat()}")
        elif policy.max_age is not None and now - signed > policy.max_age:
            checks.failed("freshness", "too_old", f"signed at {signed.isoformat()}")
        else:
            checks.passed("freshness", f"signed at {signed.isoformat()}")


def _count(checks: Checks, policy: Policy, judged: Sequence[Verification]) -> None:
    """Make the check ``signatures``."""
    by_statement: dict[bytes, set[tuple[str | None, ...]]] = {}
    for verification in judged:
        if verification.verified and verification.statement is not None:
            # A person who signs with ten certificates is one signer.
            who = (verification.keyid,) if verification.san is None else (verification.san, verification.issuer)
            by_statement.setdefault(verification.statement, set()).add(who)
    most = max((len(signers) for signers in by_statement.values()), default=0)
    needed = policy.signers.minimum_signatures
    detail = f"{most} trusted signers of one statement, {needed} needed"
    if most >= needed:
        checks.passed("signatures", detail)
        return
    failures = [verification.failure for verification in judged if verification.failure is not None]
    # One bundle, or all for one reason: that reason says more than the count.
    reasons = {failure.reason for failure in failures}
    if most == 0 and len(reasons) == 1:
        checks.failed("signatures", failures[0].reason, f"{failures[0].name}: {failures[0].detail}")
    else:
        checks.failed("signatures", "threshold", detail)


def _sentences(evaluation: Evaluation) -> Iterator[str]:
    for check in evaluation.checks:
        yield _sentence(check)
    for index, verification in enumerate(evaluation.bundles):
        for check in verification.checks:
            yield f"bundle {index}: {_sentence(check)}"


def _sentence(check: Check) -> str:
    reason = f" ({check.reason})" if check.reason else ""
    return f"{check.name} {check.outcome}{reason}: {check.detail}"
