import logging

import pytest
import trio

from signerd.daemon.background import Background
from signerd.errors import PluginError


async def test_what_runs_on_is_counted_until_it_has_ended(caplog: pytest.LogCaptureFixture) -> None:
    gate = trio.Event()

    async def fail() -> None:
        await gate.wait()
        raise PluginError("internal", "plugin_failed", plugin="quota(x)", operator="broken off\nforged")

    with caplog.at_level(logging.ERROR):
        async with trio.open_nursery() as nursery:
            background = Background(nursery)
            assert not background
            background(gate.wait())
            background(fail())
            assert len(background) == 2
            gate.set()
    assert not background
    assert [record.message for record in caplog.records] == [
        "internal (plugin_failed): quota(x): broken off\\nforged"
    ]
