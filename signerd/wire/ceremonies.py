"""A ceremony: one operation of the admin plane, with one payload, that waits for its approvals.

What an approver signs is an SSHSIG (OpenSSH, PROTOCOL.sshsig) over the ceremony's ``message``, in the namespace
:data:`NAMESPACE`: ``ssh-keygen -Y sign -n approval@signerd -f KEY FILE`` makes one. Times are Unix milliseconds.
"""

from typing import Final, Literal

import msgspec

__all__ = ["LARGEST_PAYLOAD", "LARGEST_SIGNATURE", "NAMESPACE", "Ceremony", "CeremonyState"]

NAMESPACE: Final = "approval@signerd"
"""The SSHSIG namespace of an approval: a signature that the same key made for a file or a commit is none."""
LARGEST_PAYLOAD: Final = 16 * 1024
"""Bytes of a payload: what a person is to approve, a person must be able to read."""
LARGEST_SIGNATURE: Final = 16 * 1024
"""Characters of an armoured signature, as many as the verifier reads; RSA of 8192 bits takes some 3,000."""

CeremonyState = Literal["open", "approved", "used", "expired", "withdrawn"]
"""``open``: approvals are missing; ``approved``: it can be used; the last three are the ends, and one end is final."""


class Ceremony(msgspec.Struct, frozen=True):
    """One ceremony as it stands. ``message`` is what an approver signs, as bytes.

    The message is the RFC 8785 form of ``{ceremony, operation, payload_sha256, requester, requester_uid, expires_at,
    daemon}``: who asked is signed too, as nobody approves his own order; ``daemon`` is the random id of the state
    directory, so that no approval holds for another daemon.
    """

    ceremony: str
    operation: str
    payload: bytes
    payload_sha256: str
    requester: str
    requester_uid: int
    requested_at: int
    expires_at: int
    state: CeremonyState
    needed: int
    approved_by: tuple[str, ...]
    message: bytes
