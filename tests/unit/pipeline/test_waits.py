from collections.abc import Coroutine
from typing import Any

import pytest

from fakes.services import Later
from signerd.errors import Fault
from signerd.pipeline.waits import (
    DocumentWait,
    HashWait,
    ProviderWait,
    SealWait,
    check_document,
    hash_files,
    provider,
    sealed,
)
from signerd.wire.links import DecisionFacts, PeerFacts, ReleaseFacts, RequestFacts, SealItem
from signerd.wire.worker_calls import CheckDocument

CALL = CheckDocument(0, "https://example.org/x", b"{}", b"[]")
ITEM = SealItem(
    "id",
    RequestFacts("sign.dsse", PeerFacts(0, 0)),
    DecisionFacts("p", "t", "plan", ReleaseFacts("exempt"), ()),
    "text/plain",
    b"",
    1,
)
LATER: Later[object] = Later(None)


async def asks_for(name: str) -> object:
    """Wait the way a stage does."""
    if name == "seal":
        return await sealed(ITEM, 5)
    if name == "provider":
        return await provider(LATER)
    if name == "document":
        return await check_document(CALL, None)
    return await hash_files([(3, 4), (5, 6)])


CASES: list[tuple[str, Any]] = [
    ("seal", SealWait(ITEM, 5)),
    ("provider", ProviderWait(LATER)),
    ("document", DocumentWait(CALL, None)),
    ("hash", HashWait(((3, 4), (5, 6)))),
]


@pytest.mark.parametrize(("name", "wait"), CASES)
def test_a_stage_yields_what_it_waits_for_and_gets_what_is_sent(name: str, wait: object) -> None:
    stage: Coroutine[Any, Any, object] = asks_for(name)
    assert stage.send(None) == wait
    with pytest.raises(StopIteration) as ended:
        stage.send(answer := object())
    assert ended.value.value is answer


@pytest.mark.parametrize("name", [name for name, _ in CASES])
def test_what_is_thrown_in_comes_out_where_it_stood(name: str) -> None:
    stage: Coroutine[Any, Any, object] = asks_for(name)
    stage.send(None)
    with pytest.raises(Fault, match="hung_up"):
        stage.throw(Fault("request.cancelled", "hung_up", "gone"))
