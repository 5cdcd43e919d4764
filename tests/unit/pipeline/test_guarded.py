from typing import Any

import pytest
import trio

from fakes.services import Later, complete, world
from signerd.errors import PluginError, Refusal
from signerd.host.guard import Guard
from signerd.pipeline.guarded import Guarded, ask
from signerd.pipeline.waits import ProviderWait


class Provider:
    def give(self, answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer


GUARDED: Guarded[Provider] = Guarded(Provider(), Guard("release", "fake", seconds=0.01))


def asked(answer: Any) -> Any:
    return complete(ask(GUARDED, GUARDED.provider.give, str, answer), world())


def test_an_answer_at_once_needs_no_wait() -> None:
    with pytest.raises(StopIteration) as ended:
        ask(GUARDED, GUARDED.provider.give, str, "yes").send(None)
    assert ended.value.value == "yes"


def test_an_answer_that_comes_later_is_waited_for_outside() -> None:
    stage = ask(GUARDED, GUARDED.provider.give, str, Later("yes"))
    wait = stage.send(None)
    assert isinstance(wait, ProviderWait)

    async def bring() -> object:
        return await wait.awaitable

    with pytest.raises(StopIteration) as ended:
        stage.send(trio.run(bring))
    assert ended.value.value == "yes"


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    ("answer", "reason"), [(7, "plugin_type"), (True, "plugin_type"), (OSError("secret"), "plugin_failed")]
)
def test_a_defect_comes_as_one_kind_of_fault(answer: object, reason: str, later: bool) -> None:
    with pytest.raises(PluginError) as caught:
        asked(Later(answer) if later else answer)
    assert (caught.value.code, caught.value.reason) == ("release.unavailable", reason)
    assert "release(fake)" in str(caught.value)
    assert "secret" not in caught.value.public


@pytest.mark.parametrize("later", [False, True])
def test_a_refusal_passes_through(later: bool) -> None:
    no = Refusal("release.untrusted", "not_listed", "no")
    with pytest.raises(Refusal) as caught:
        asked(Later(no) if later else no)
    assert caught.value is no


def test_a_provider_that_never_answers_is_given_up() -> None:
    async def never() -> str:
        await trio.sleep_forever()
        raise AssertionError

    with pytest.raises(PluginError, match="plugin_deadline"):
        asked(never())
