"""Pages of the audit log as callers see them: the cursor that they send, the page that they get."""

from typing import Final

import msgspec
from msgspec import UNSET

from signerd.errors import Refusal
from signerd.wire.links import Answer
from signerd.wire.methods import AuditQuery, AuditRecord, AuditRecords

__all__ = ["cursor_of", "page_of"]

_LONGEST: Final = 18
"""Digits that a cursor may have: what fits into the log's index."""


class _WithId(msgspec.Struct):
    audit_id: str = ""


_with_id: Final = msgspec.json.Decoder(_WithId)


def cursor_of(params: AuditQuery) -> int:
    """Return the index at which the page begins; Refusal ``request.malformed``, ``cursor``, for what no page had."""
    if params.cursor is UNSET:
        return 0
    if not params.cursor.isascii() or not params.cursor.isdigit() or len(params.cursor) > _LONGEST:
        raise Refusal("request.malformed", "cursor", "not a cursor of this daemon", details={"field": "cursor"})
    return int(params.cursor)


def page_of(answer: Answer) -> AuditRecords:
    """Return what the sealer found as a page, with the cursor of the next where there is one."""
    records = tuple(
        AuditRecord(_with_id.decode(leaf).audit_id, index, leaf)
        for index, leaf in zip(answer.indices, answer.records, strict=True)
    )
    return AuditRecords(records, str(answer.next) if answer.next else UNSET)
