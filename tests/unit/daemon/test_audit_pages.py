import msgspec
import pytest
from msgspec import UNSET

from signerd.daemon.audit_pages import cursor_of, page_of
from signerd.errors import Refusal
from signerd.wire.links import Answer
from signerd.wire.methods import AuditFilters, AuditQuery


def query(cursor: str | None = None) -> AuditQuery:
    return AuditQuery(AuditFilters(), 10, UNSET if cursor is None else cursor)


def test_a_cursor_is_an_index() -> None:
    assert cursor_of(query()) == 0
    assert cursor_of(query("17")) == 17


@pytest.mark.parametrize("cursor", ["", "-1", "1" * 19, "\N{ARABIC-INDIC DIGIT ONE}", "1e3"])
def test_anything_else_is_none(cursor: str) -> None:
    with pytest.raises(Refusal) as caught:
        cursor_of(query(cursor))
    assert (caught.value.code, caught.value.reason) == ("request.malformed", "cursor")


def test_a_page_names_the_records_and_the_next() -> None:
    answer = msgspec.convert({"id": 1, "records": [b'{"audit_id":"a"}', b"{}"], "indices": [4, 5], "next": 6}, Answer)
    page = page_of(answer)
    assert [(record.audit_id, record.index) for record in page.records] == [("a", 4), ("", 5)]
    assert page.next == "6"
    assert page_of(msgspec.structs.replace(answer, next=0)).next is UNSET
