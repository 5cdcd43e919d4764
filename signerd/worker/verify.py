"""The verifying worker: judges one bundle at a time, against the trusted root and the policies of the configuration.

``python -m signerd.worker.verify --fd N`` is a child of the front end; its settings, the JSON of
:class:`VerifyWorkerSettings`, are its standard input. It holds no key and no connection to a caller, opens no file and
no socket: the worst that a bundle can do is to end this process. It verifies for callers alone; nothing that the daemon
decides or signs rests on its word.
"""

import ctypes
import gc
import os
from datetime import datetime
from typing import Final

import msgspec
from msgspec import UNSET

from signerd.attestation.bundle import LARGEST_BUNDLE
from signerd.errors import Fault, Refusal, SignerdError
from signerd.host.guard import told
from signerd.host.link import Frame, Link
from signerd.host.memfd import read_sealed
from signerd.verification.bundle import Verification, verify_bundle
from signerd.verification.certificates import Identity
from signerd.verification.checks import Check
from signerd.verification.evaluation import evaluate
from signerd.verification.evidence import Requirements
from signerd.verification.keys import PublicKey
from signerd.verification.policy import Policy, parse_policy
from signerd.verification.trusted_root import TrustedRoot, parse_trusted_root
from signerd.wire.decoding import BROKEN
from signerd.wire.frames import encode_frame
from signerd.wire.params import Descriptor
from signerd.wire.verified import BundleVerified, VerificationCheck
from signerd.wire.worker_calls import BundleJudged, CallError, JudgeBundle
from signerd.worker import process

__all__ = ["Judge", "VerifyWorkerSettings", "main"]

PROGRAM: Final = "signerd.worker.verify"
NICE: Final = 5
"""Above signing's processes: whoever verifies can wait a moment longer."""
WORTH_TRIMMING: Final = 1024 * 1024
_BESIDE_A_KEY: Final = Requirements(log_entries=0, sct=False)
"""A key that the caller names vouches by itself: what stands beside its signature must be right, and may be missing."""


class VerifyWorkerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the front end hands over, which has parsed all of it: the trusted root, empty where there is none, and the
    policies by their ids."""

    trusted_root: bytes = b""
    policies: dict[str, bytes] = {}


class Judge:
    """Judges bundles against one configuration."""

    def __init__(self, settings: VerifyWorkerSettings) -> None:
        self._root: TrustedRoot | None = parse_trusted_root(settings.trusted_root) if settings.trusted_root else None
        self._policies = {name: parse_policy(text) for name, text in settings.policies.items()}

    def answer(self, call: JudgeBundle, fds: tuple[int, ...]) -> BundleJudged:
        """Do one call. ``fds`` stay the caller's. Never raises: a refusal and a lack of memory are answers.

        Refuses ``request.malformed`` (``key_malformed``, ``policy_unknown``), ``key.algorithm_refused`` and
        ``request.unsupported`` (``no_trusted_root``). A bundle that does not verify is a result.
        """
        try:
            return BundleJudged(call.id, self._judge(call, fds))
        except SignerdError as exc:
            error = exc
        except MemoryError as exc:
            error = Fault("internal", "bundle_memory", "the signer failed", operator=told(exc))
        details = {name: str(value) for name, value in error.details.items() if name != "reason"}
        told_error = CallError(error.code, error.reason, error.public, error.args[0])
        return BundleJudged(call.id, error=told_error, details=details)

    def _judge(self, call: JudgeBundle, fds: tuple[int, ...]) -> BundleVerified:
        # Before the bundle is read: who asks wrongly is told so cheaply.
        key = None if call.key is None else PublicKey.from_pem(call.key)
        if call.policy is not None:
            policy = self._policy(call.policy, call.tenant)
            return self._by_policy(call, _bundle(call, fds), policy, key)
        signer: PublicKey | Identity
        requirements = None
        if key is not None:
            signer = key
            requirements = None if self._root is None else _BESIDE_A_KEY
        elif call.identity is not None and self._root is not None:
            signer = Identity(call.identity.san, call.identity.issuer)
        elif call.identity is not None:
            details = {"name": "identity"}
            raise Refusal(
                "request.unsupported", "no_trusted_root", "this daemon has no trusted root", details=details
            )
        else:
            raise Refusal("request.malformed", "missing_field", "a key, an identity or a policy is needed")
        verification = verify_bundle(
            _bundle(call, fds),
            signer,
            artifact_sha256=call.artifact_sha256,
            predicate_type=call.predicate_type,
            trusted_root=self._root,
            requirements=requirements,
        )
        rationale = tuple(_sentence(check) for check in verification.checks)
        return _result(verification, verification.verified, verification.checks, verification.transparency, rationale)

    def _by_policy(self, call: JudgeBundle, bundle: bytes, policy: Policy, key: PublicKey | None) -> BundleVerified:
        evaluation = evaluate(
            policy,
            [bundle],
            keys=() if key is None else (key,),
            trusted_root=self._root,
            artifact_sha256=call.artifact_sha256,
            tenant=call.tenant,
        )
        (verification,) = evaluation.bundles
        checks = (*evaluation.checks, *verification.checks)
        return _result(verification, evaluation.verified, checks, evaluation.transparency, evaluation.rationale)

    def _policy(self, name: str, tenant: str) -> Policy:
        policy = self._policies.get(name)
        # Another tenant's policy is none: what it is called is nobody else's business.
        if policy is None or policy.tenant_scope not in {"*", tenant}:
            details = {"field": "policy"}
            raise Refusal("request.malformed", "policy_unknown", "there is no such policy", details=details)
        return policy


def _bundle(call: JudgeBundle, fds: tuple[int, ...]) -> bytes:
    if isinstance(call.bundle, bytes) and not fds:
        return call.bundle
    if isinstance(call.bundle, Descriptor) and len(fds) == 1 and call.bundle.fd == 0:
        return read_sealed(fds[0], call.bundle.size, LARGEST_BUNDLE)
    raise Refusal("request.malformed", "descriptor_index", "the descriptors are not those that are named")


def _result(
    found: Verification, verified: bool, checks: tuple[Check, ...], transparency: str, rationale: tuple[str, ...]
) -> BundleVerified:
    made = tuple(VerificationCheck(each.name, each.outcome, each.detail, each.reason or UNSET) for each in checks)
    if not verified:
        # What an unverified document says of itself is not passed on.
        return BundleVerified(verified, made, transparency, rationale)
    by = {"san": found.san, "issuer": found.issuer or ""} if found.san is not None else UNSET
    return BundleVerified(
        verified,
        made,
        transparency,
        rationale,
        found.keyid or UNSET,
        by,
        found.predicate_type or UNSET,
        tuple(_milliseconds(at) for at in found.times),
    )


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _sentence(check: Check) -> str:
    reason = f" ({check.reason})" if check.reason else ""
    return f"{check.name} {check.outcome}{reason}: {check.detail}"


def _serve(link: Link, frame: Frame, fds: tuple[int, ...], judge: Judge) -> bool:
    """Answer one frame; whether the link is still good for another."""
    try:
        call = msgspec.msgpack.decode(frame, type=JudgeBundle)
    except BROKEN:
        return False  # the front end sends nothing else: whoever speaks here is not it
    link.queue(encode_frame(judge.answer(call, fds)), ())
    return process.flush(link)


def main() -> None:
    """Run the worker until its link ends."""
    link, settings = process.begin(PROGRAM, VerifyWorkerSettings)
    try:
        judge = Judge(settings)
    except Refusal as refusal:
        process.fail(PROGRAM, str(refusal))
    os.nice(NICE)
    trim = ctypes.CDLL(None).malloc_trim
    gc.collect()
    gc.freeze()
    for arrived in process.frames(link):
        for frame, fds in arrived:
            large = max([len(frame), *(os.fstat(fd).st_size for fd in fds)]) > WORTH_TRIMMING
            good = _serve(link, frame, fds, judge)
            for fd in fds:
                os.close(fd)
            if not good:
                return
            if large:
                gc.collect()
                trim(0)
        del arrived


if __name__ == "__main__":
    main()
