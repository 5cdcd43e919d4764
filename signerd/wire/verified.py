"""What ``verify.bundle`` and ``verify.batch`` answer with.

The rules of :mod:`signerd.wire.signed` hold here too: results may grow, enumerated texts are plain str.
"""

import msgspec
from msgspec import UNSET, UnsetType

from signerd.wire.signed import BatchError

__all__ = ["BundleVerified", "VerificationCheck", "VerifiedBatch", "VerifyOutcome"]


class VerificationCheck(msgspec.Struct, frozen=True):
    """One check, in the order in which they were made."""

    name: str
    """stable: for instance `signature`, `subject`, `transparency`"""
    outcome: str
    """`passed`, `failed` or `skipped`"""
    detail: str
    """a sentence in printable ASCII"""
    reason: str | UnsetType = UNSET
    """of a failed one: a stable word"""


class BundleVerified(msgspec.Struct, frozen=True):
    """Whether it verifies. One that does not is a result, not an error."""

    verified: bool
    """the signature passed and no check failed"""
    checks: tuple[VerificationCheck, ...]
    """those of the bundle; with `policy` the policy's own first"""
    transparency: str
    """`passed`: a log entry was proven; `failed`: one was needed, or does not verify; `skipped`: neither"""
    rationale: tuple[str, ...]
    """one sentence for each check"""
    keyid: str | UnsetType = UNSET
    """if verified: of the key that signed"""
    identity: dict[str, str] | UnsetType = UNSET
    """if a certificate of it was verified: `san` and `issuer`"""
    predicate_type: str | UnsetType = UNSET
    """if verified, and it is an attestation: its type"""
    times: tuple[int, ...] | UnsetType = UNSET
    """if verified: the times that logs promised and authorities stamped, Unix milliseconds"""


class VerifyOutcome(msgspec.Struct, frozen=True):
    """One of a batch: `ok` or `error`."""

    index: int
    """place of the item, from 0"""
    ok: BundleVerified | UnsetType = UNSET
    """as the result of `verify.bundle`"""
    error: BatchError | UnsetType = UNSET
    """why the item was not looked at"""


class VerifiedBatch(msgspec.Struct, frozen=True):
    """An outcome for each item, in their order."""

    outcomes: tuple[VerifyOutcome, ...]
    """see VerifyOutcome"""
