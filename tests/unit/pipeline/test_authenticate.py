import msgspec
import pytest
import trio

from fakes.services import NOON, PEER, PRINCIPAL, Authenticators, Later, complete, refusal, request, world
from signerd.contracts.providers import Authenticator
from signerd.contracts.values import Caller
from signerd.daemon.story import run_in_task
from signerd.errors import Fault, PluginError, Refusal
from signerd.host.guard import Guard
from signerd.pipeline.authenticate import authenticate, bind
from signerd.pipeline.guarded import Guarded

CALLER = Caller(PEER, "signerd")


def test_a_bound_connection_is_its_principal() -> None:
    asked = request()
    assert complete(authenticate(asked, world().services), world()) is PRINCIPAL
    assert asked.principal is PRINCIPAL


def test_nobody_is_asked_to_bind() -> None:
    asked = request(bound=None)
    assert refusal(authenticate(asked, world().services), world()) == ("auth.required", "not_bound", {})
    assert asked.principal is None


@pytest.mark.parametrize(("expires_at", "ends"), [(NOON + 1, False), (NOON, True), (NOON - 1, True), (None, False)])
def test_a_binding_ends_at_its_time_and_the_record_says_whose(expires_at: int | None, ends: bool) -> None:
    principal = msgspec.structs.replace(PRINCIPAL, expires_at=expires_at)
    asked = request(bound=principal)
    stage = authenticate(asked, world().services)
    if ends:
        assert refusal(stage, world()) == ("auth.token_expired", "expired", {})
    else:
        assert complete(stage, world()) is principal
    assert asked.principal is principal


def guarded(*fakes: Authenticators) -> list[Guarded[Authenticator]]:
    return [Guarded(fake, Guard("authenticator", "fake")) for fake in fakes]


def test_the_first_principal_counts() -> None:
    fakes = Authenticators(None), Authenticators(PRINCIPAL), Authenticators(PRINCIPAL)
    assert complete(bind(CALLER, guarded(*fakes)), world()) is PRINCIPAL
    assert [fake.asked for fake in fakes] == [1, 1, 0]


def test_whom_nobody_knows_is_nobody() -> None:
    assert complete(bind(CALLER, guarded(Authenticators(), Authenticators())), world()) is None
    assert complete(bind(CALLER, []), world()) is None


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (Refusal("auth.peer_denied", "uid_not_allowed", "no"), Refusal, "uid_not_allowed"),
        (RuntimeError("secret"), PluginError, "plugin_failed"),
    ],
)
def test_an_exception_stops_the_asking(
    answer: Exception, kind: type[Refusal | Fault], reason: str, later: bool
) -> None:
    first, second = Authenticators(Later(answer) if later else answer), Authenticators(PRINCIPAL)
    with pytest.raises(kind) as caught:
        trio.run(run_in_task, bind(CALLER, guarded(first, second)))
    assert caught.value.reason == reason
    assert "secret" not in caught.value.public
    assert second.asked == 0


@pytest.mark.parametrize("answer", [True, "uid:0", Later(True)])
def test_what_is_no_principal_is_a_defect_of_the_plugin(answer: object) -> None:
    with pytest.raises(PluginError, match="plugin_type"):
        trio.run(run_in_task, bind(CALLER, guarded(Authenticators(answer))))


def test_a_principal_that_comes_later_is_waited_for() -> None:
    assert trio.run(run_in_task, bind(CALLER, guarded(Authenticators(Later(PRINCIPAL))))) is PRINCIPAL
