"""The leaves of the audit log that requests leave: RFC 8785 bytes of what was decided, how it ended, what was refused.

Those of the key ring and of the admin plane stand in :mod:`signerd.sealer.admin_leaves`.

Every leaf is one JSON object with ``v`` (1), ``kind`` and ``time`` (Unix milliseconds); an empty field is
absent. The ``decision`` in a ``decided`` leaf is the very object that the receipt shows, and
``decision_digest`` is the SHA-256 of its bytes.

Encoding: msgspec with sorted keys is RFC 8785 for what stands here (strings, integers within ±(2⁵³-1),
arrays, and objects whose keys are ASCII, so that sorting by bytes is sorting by UTF-16 units). No float
reaches a leaf.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import msgspec

from signerd.contracts.services import Leaf
from signerd.wire.links import DecisionFacts, RefusedRecord, RequestFacts
from signerd.wire.presence import PresenceFacts

__all__ = [
    "LEAF_VERSION",
    "KeylessSigner",
    "PluginFacts",
    "decided_leaf",
    "decision_digest",
    "encode",
    "outcome_leaf",
    "refused_leaf",
    "start_leaf",
]

LEAF_VERSION: Final = 1
"""The ``v`` of every leaf. A reader that does not know it must not interpret the rest."""

encode: Final = msgspec.json.Encoder(order="sorted").encode
"""A leaf's or decision's bytes."""


class PluginFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """A distribution that was loaded at start; ``digest`` is ``sha256:…`` of its RECORD, ``certificate`` of the file of
    its conformance certificate."""

    name: str
    version: str
    digest: str
    certificate: str = ""


class KeylessSigner(msgspec.Struct, frozen=True):
    """By which key and certificate (DER; base64 in the leaf) a keyless key signed: the decision could not name them."""

    certificate: bytes
    key: str
    keyid: str


class _Decided(msgspec.Struct, frozen=True, omit_defaults=True):
    audit_id: str
    decision: msgspec.Raw
    kind: str
    payload_type: str
    request: RequestFacts
    statement_sha256: str
    time: int
    v: int
    presence: PresenceFacts | None = None
    log_digests: tuple[str, ...] = ()


class _Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    audit_id: str
    kind: str
    outcome: str
    tenant: str
    time: int
    v: int
    bundle_sha256: Sequence[str] = ()
    code: str = ""
    envelope_sha256: str = ""
    keyless: Sequence[KeylessSigner] = ()


class _Refused(msgspec.Struct, frozen=True, omit_defaults=True):
    audit_id: str
    code: str
    kind: str
    outcome: str
    reason: str
    request: RequestFacts
    time: int
    v: int
    count: int = 1


class _Start(msgspec.Struct, frozen=True):
    kind: str
    plugins: Sequence[PluginFacts]
    time: int
    v: int
    version: str


def decision_digest(decision: DecisionFacts) -> str:
    """Return the hex SHA-256 of the decision's RFC 8785 bytes."""
    return sha256(encode(decision)).hexdigest()


def decided_leaf(
    request: RequestFacts,
    decision: DecisionFacts,
    audit_id: str,
    statement_sha256: str,
    payload_type: str,
    time: int,
    presence: PresenceFacts | None = None,
    log_digests: tuple[str, ...] = (),
) -> tuple[Leaf, str]:
    """Return the ``decided`` leaf and the ``decision_digest``. ``statement_sha256`` is the sealer's own
    computation, and so are ``log_digests``: those of the PAE by which a log would have an entry about it. ``presence``
    is the approval by which it is signed.
    """
    decided = encode(decision)
    text = encode(
        _Decided(
            audit_id,
            msgspec.Raw(decided),
            "decided",
            payload_type,
            request,
            statement_sha256,
            time,
            LEAF_VERSION,
            presence,
            log_digests,
        )
    )
    return Leaf(text, audit_id, "decided", decision.tenant, time), sha256(decided).hexdigest()


def outcome_leaf(
    audit_id: str,
    tenant: str,
    time: int,
    outcome: str,
    code: str = "",
    bundle_sha256: Sequence[str] = (),
    keyless: Sequence[KeylessSigner] = (),
    envelope_sha256: str = "",
) -> Leaf:
    """Return the leaf that closes a ``decided`` one: how it ended, the digests of the bundles that were made (in output
    profile dsse that of the envelope), and the certificates of keyless keys.
    """
    text = encode(
        _Outcome(
            audit_id,
            "outcome",
            outcome,
            tenant,
            time,
            LEAF_VERSION,
            bundle_sha256=tuple(bundle_sha256),
            code=code,
            envelope_sha256=envelope_sha256,
            keyless=tuple(keyless),
        )
    )
    return Leaf(text, audit_id, "outcome", tenant, time, outcome, code)


def refused_leaf(refusal: RefusedRecord, time: int) -> Leaf:
    """Return the single leaf of a request that ended before ``decided``; ``count`` stands where it is an
    aggregate.
    """
    request = refusal.request
    text = encode(
        _Refused(
            refusal.audit_id,
            refusal.code,
            "refused",
            refusal.outcome,
            refusal.reason,
            request,
            time,
            LEAF_VERSION,
            count=refusal.count,
        )
    )
    return Leaf(text, refusal.audit_id, "refused", request.tenant, time, refusal.outcome, refusal.code)


def start_leaf(version: str, plugins: Sequence[PluginFacts], time: int) -> Leaf:
    """Return the leaf of a start: signerd's version, and name, version and digests of all that was loaded."""
    text = encode(_Start("start", tuple(plugins), time, LEAF_VERSION, version))
    return Leaf(text, "", "start", "", time)
