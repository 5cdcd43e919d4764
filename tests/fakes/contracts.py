"""Contract classes at work outside of pytest: which of their tests a plugin fails."""

from collections.abc import Callable
from types import ModuleType

from signerd.contracts import hookimpl
from signerd_conformance.contracts import PluginContract

__all__ = ["failing", "plugin"]


def plugin(hook: str, introduce: Callable[[dict[str, object]], object]) -> ModuleType:
    """Return a module with that hook, which refuses every setting unless ``introduce`` takes them."""

    def implementation(settings: dict[str, object]) -> object:
        return introduce(settings)

    made = ModuleType("made_up_plugin")
    setattr(made, hook, hookimpl(implementation))
    return made


def failing(contract: type[PluginContract], made: ModuleType) -> set[str]:
    """Return the names of the tests that fail when ``contract`` judges ``made``, without their ``test_``."""

    class Judged(contract):  # type: ignore[misc, valid-type]  # whichever it is
        plugin = made

    failed = set()
    names = [name for name in dir(contract) if name.startswith("test_")]
    assert names
    for name in names:
        try:
            getattr(Judged(), name)()
        except Exception:  # noqa: BLE001  # that is the answer
            failed.add(name.removeprefix("test_"))
    return failed
