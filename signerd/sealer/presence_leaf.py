"""The leaf of an assertion that was accepted: what keeps an authenticator's counter.

The log is where the counters live, so that no old copy of a file beside it makes an assertion of before good again.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from signerd.contracts.services import Leaf
from signerd.errors import Fault
from signerd.sealer.leaves import LEAF_VERSION, encode

__all__ = ["counters_of", "presence_leaf"]


class _Accepted(msgspec.Struct, frozen=True):
    approval_id: str
    assertion: bytes
    counter: int
    key: str
    keyid: str
    kind: str
    pae_sha256: str
    principal: str
    statement_sha256: str
    tenant: str
    time: int
    v: int


class _Counter(msgspec.Struct, frozen=True):
    keyid: str
    counter: int


_counter: Final = msgspec.json.Decoder(_Counter).decode


def presence_leaf(
    approval_id: str,
    approver: tuple[str, str],
    caller: tuple[str, str],
    digests: tuple[str, str],
    counter: int,
    assertion: bytes,
    time: int,
) -> Leaf:
    """Return the leaf of an accepted assertion (base64 in it).

    ``approver`` is reference and keyid of the credential, ``caller`` tenant and principal, ``digests`` the hex SHA-256
    of the statement and of its PAE, ``time`` Unix milliseconds. Its ``audit_id`` is the approval's, and the log has
    each id once: so an approval is given once.
    """
    (key, keyid), (tenant, principal), (statement_sha256, pae_sha256) = approver, caller, digests
    text = encode(
        _Accepted(
            approval_id,
            assertion,
            counter,
            key,
            keyid,
            "presence",
            pae_sha256,
            principal,
            statement_sha256,
            tenant,
            time,
            LEAF_VERSION,
        )
    )
    return Leaf(text, approval_id, "presence", tenant, time)


def counters_of(leaves: Iterable[bytes]) -> dict[str, int]:
    """Return the highest counter of each credential, by keyid; ``audit.unavailable``, reason ``corrupt``, for what is
    no such leaf."""
    counters: dict[str, int] = {}
    for text in leaves:
        try:
            told = _counter(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise Fault(
                "audit.unavailable", "corrupt", "the audit log cannot be used", operator=f"audit log: {exc}"
            ) from exc
        counters[told.keyid] = max(told.counter, counters.get(told.keyid, 0))
    return counters
