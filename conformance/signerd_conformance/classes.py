"""Runs the contract classes of a plugin's own tests under pytest, and takes down how each of the kit's cases ended.

What counts is the kit's code alone: a case that a subclass has put in another's place is a failed one, and so is a hook
of the plugin that no class has judged.
"""

import inspect
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pluggy

from signerd.contracts import hookspecs
from signerd.contracts.hookspecs import PROJECT
from signerd.host.certificate import Case
from signerd_conformance import contracts
from signerd_conformance.contracts import PluginContract

__all__ = ["judged_by_classes"]

_KINDS = [found for name in contracts.__all__ if (found := getattr(contracts, name)) is not PluginContract]


class _Recorder:
    """A plugin of pytest. Cases are named ``HOOK.TEST``; one that ran several times has its worst result."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._seen: dict[str, set[str]] = {}
        self._used: set[type[PluginContract]] = set()
        self.plugin: ModuleType | None = None

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        kind = next((kind for kind in _KINDS if inspect.isclass(item.cls) and issubclass(item.cls, kind)), None)
        test = item.originalname if kind is not None else ""
        if kind is None or not hasattr(kind, test) or item.cls.plugin.__name__ != self._module:
            return
        self.plugin = item.cls.plugin
        self._used.add(kind)
        ends = self._seen.setdefault(f"{kind.hook}.{test}", set())
        if getattr(item.cls, test) is not getattr(kind, test) or item.cls.hook != kind.hook:
            ends.add("FAIL")
        elif call.excinfo is not None:
            ends.add("skip" if call.excinfo.typename == "Skipped" else "FAIL")
        elif call.when == "call":
            ends.add("ok")

    def cases(self) -> list[Case]:
        """Return every case of every contract that was judged by, and of each hook that no contract was used for."""
        found = []
        judged = {kind.hook for kind in self._used}
        for kind in _KINDS:
            if kind in self._used:
                tests = sorted(name for name in dir(kind) if name.startswith("test_"))
                found += [Case(f"{kind.hook}.{test}", self._result(f"{kind.hook}.{test}")) for test in tests]
        found += [Case(f"{hook}.not-judged", "FAIL") for hook in sorted(self._hooks() - judged)]
        return found

    def _result(self, name: str) -> Any:
        ends = self._seen.get(name, set())
        return "FAIL" if not ends or "FAIL" in ends else "skip" if "skip" in ends else "ok"

    def _hooks(self) -> set[str]:
        if self.plugin is None:
            return set()
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(hookspecs)
        manager.register(self.plugin, "plugin")
        return {caller.name for caller in manager.get_hookcallers(self.plugin) or ()}


def judged_by_classes(module: str, arguments: Sequence[str]) -> tuple[list[Case], str]:
    """Run pytest with ``arguments`` in this process; return the cases of the contracts that judged the plugin's
    ``module``, and the file that it was imported from (empty where no class names it).

    Raises ValueError where pytest is not installed.
    """
    try:
        import pytest
    except ImportError:
        raise ValueError("pytest is not installed here, and contract classes are its tests") from None
    recorder = _Recorder(module)
    pytest.main(list(arguments), plugins=[recorder])
    return recorder.cases(), getattr(recorder.plugin, "__file__", None) or ""
