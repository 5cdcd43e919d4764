from types import ModuleType

import pytest
import trio

from fakes.contracts import failing, plugin
from signerd.contracts import hookimpl
from signerd.errors import Refusal
from signerd_conformance.contracts import PluginContract
from signerd_conformance.contracts.plugin import refused, settled


class Contract(PluginContract):
    hook = "signerd_predicates"


def strict(settings: dict[str, object]) -> object:
    if settings:
        raise ValueError("no settings")
    return ["provider"]


def test_unknown_settings_must_be_refused() -> None:
    assert failing(Contract, plugin("signerd_predicates", strict)) == set()
    assert failing(Contract, plugin("signerd_predicates", lambda settings: [])) == {
        "a_setting_that_nobody_knows_is_refused"
    }


def test_hooks_are_called_as_the_host_calls_them() -> None:
    class Judged(Contract):
        plugin = plugin("signerd_predicates", strict)

    assert Judged().providers() == ["provider"]

    class Wrong(Contract):
        plugin = plugin("signerd_entitlements", strict)

    with pytest.raises(AssertionError, match="has no hookimpl signerd_predicates"):
        Wrong().introduced({})

    class Misspelt(Contract):
        plugin = ModuleType("misspelt")

    Misspelt.plugin.signerd_predicate = hookimpl(lambda settings: [])  # type: ignore[attr-defined]  # it has now
    with pytest.raises(Exception, match="unknown hook 'signerd_predicate'"):
        Misspelt().introduced({})


def test_an_async_hook_introduces_nothing() -> None:
    class Later(Contract):
        plugin = ModuleType("later")

    async def signerd_predicates(settings: dict[str, object]) -> list[object]:
        return []

    Later.plugin.signerd_predicates = hookimpl(signerd_predicates)  # type: ignore[attr-defined]  # it has now
    found = Later().introduced({})
    found.close()  # type: ignore[attr-defined]  # a coroutine
    with pytest.warns(RuntimeWarning, match="never awaited"), pytest.raises(AssertionError, match="is async"):
        Later().providers()


async def later(value: object) -> object:
    await trio.lowlevel.checkpoint()
    if isinstance(value, Exception):
        raise value
    return value


def test_answers_are_waited_for() -> None:
    assert settled(5) == 5
    assert settled(later(5)) == 5


def test_a_refusal_has_the_code_that_it_must_have() -> None:
    no = Refusal("auth.required", "x", "no")

    def refuse() -> object:
        raise no

    assert refused("auth.", refuse) is no
    assert refused("auth.", lambda: later(no)) is no
    with pytest.raises(AssertionError, match=r"auth\.required \(x\) and not release\.\*"):
        refused("release.", refuse)
    with pytest.raises(AssertionError, match=r"5 where a refusal auth\.\* must be"):
        refused("auth.", lambda: 5)
    with pytest.raises(KeyError):
        refused("auth.", lambda: dict[str, int]()["x"])
