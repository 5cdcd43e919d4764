"""What the log says of a signature that somebody approved by a touch of an authenticator."""

import msgspec

__all__ = ["PresenceFacts"]


class PresenceFacts(msgspec.Struct, frozen=True):
    """An approval as the ``decided`` leaf has it. The assertion itself stands in the leaf of the approval's own id.

    ``key`` and ``keyid`` are those of the credential.
    """

    approval_id: str
    assertion_sha256: str
    counter: int
    key: str
    keyid: str
