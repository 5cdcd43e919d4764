"""What is asked of every plugin: hooks that are signerd's, settings that are understood or refused."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import ClassVar

import pluggy
import trio

from signerd.contracts import hookspecs
from signerd.contracts.hookspecs import PROJECT
from signerd.errors import SignerdError

__all__ = ["PluginContract", "refused", "settled"]


class PluginContract:
    """``plugin``: the module that the entry point names. The subclasses here name the hook that they call."""

    plugin: ClassVar[ModuleType]
    hook: ClassVar[str]

    def settings(self) -> Mapping[str, object]:
        """Return settings with which the plugin works; it works without any unless this says otherwise."""
        return {}

    def introduced(self, settings: Mapping[str, object]) -> object:
        """Return what the hook returns, called as the host calls it."""
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(hookspecs)
        manager.register(self.plugin, "plugin")
        manager.check_pending()
        found = getattr(manager.hook, self.hook).get_hookimpls()
        assert len(found) == 1, f"{self.plugin.__name__} has no hookimpl {self.hook}"
        assert not found[0].hookwrapper, f"{self.hook} is a wrapper"
        assert not found[0].wrapper, f"{self.hook} is a wrapper"
        return found[0].function(*([settings] if found[0].argnames else []))

    def providers(self) -> Sequence[object]:
        """Return what the hook returns, as a sequence."""
        found = self.introduced(self.settings())
        assert not inspect.iscoroutine(found), f"{self.hook} is async: it would introduce nothing"
        return list(found) if isinstance(found, list | tuple) else [found]

    def test_a_setting_that_nobody_knows_is_refused(self) -> None:
        """A misspelt setting must not be a setting that silently does nothing."""
        try:
            self.introduced({**self.settings(), "x-conformance": 1})
        except ValueError:
            return
        raise AssertionError("the unknown setting x-conformance is taken, and must be a ValueError")


def settled(result: object) -> object:
    """Return what a provider's method has returned, waited for where it is awaitable."""
    if not inspect.isawaitable(result):
        return result

    async def wait() -> object:
        return await result

    return trio.run(wait)


def refused(prefix: str, call: Callable[..., object], *arguments: object) -> SignerdError:
    """Return the error with which ``call(*arguments)`` refuses; its code must begin with ``prefix``."""
    try:
        result = settled(call(*arguments))
    except SignerdError as exc:
        error = exc
    else:
        raise AssertionError(f"{result!r} where a refusal {prefix}* must be")
    assert error.code.startswith(prefix), f"{error.code} ({error.reason}) and not {prefix}*"
    return error
