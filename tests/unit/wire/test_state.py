import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.wire.state import JOINT, STEPS, Kind, ProtocolState, Role, State

STATES = {
    Role.CLIENT: {State.GREETING, State.WAITING, State.OPEN, State.CLOSED, State.FAILED},
    Role.SERVER: set(State),
}


def opened() -> ProtocolState:
    state = ProtocolState()
    assert state.step(Role.CLIENT, Kind.HELLO)
    assert state.step(Role.SERVER, Kind.HELLO)
    return state


def test_the_tables_name_every_state_of_each_side_and_no_other() -> None:
    for role, states in STATES.items():
        assert set(STEPS[role]) == states
        assert {after for steps in STEPS[role].values() for after in steps.values()} <= states
    for pair in (*JOINT, *JOINT.values()):
        assert pair[0] in STATES[Role.CLIENT]
        assert pair[1] in STATES[Role.SERVER]


def test_the_client_greets_first_and_is_open_after_the_servers_hello() -> None:
    state = ProtocolState()
    assert not state.allows(Role.SERVER, Kind.HELLO)
    assert state.step(Role.CLIENT, Kind.HELLO)
    assert (state[Role.CLIENT], state[Role.SERVER]) == (State.WAITING, State.GREETING)
    assert not state.allows(Role.CLIENT, Kind.REQUEST)
    assert state.stopped
    assert state.step(Role.SERVER, Kind.HELLO)
    assert (state[Role.CLIENT], state[Role.SERVER]) == (State.OPEN, State.OPEN)
    assert not state.stopped


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        (Role.CLIENT, {Kind.REQUEST, Kind.CANCEL, Kind.UNKNOWN, Kind.EOF}),
        (Role.SERVER, {Kind.ANSWER, Kind.NOTICE, Kind.GOAWAY, Kind.UNKNOWN, Kind.EOF}),
    ],
)
def test_what_each_side_may_say_once_both_are_open(role: Role, allowed: set[Kind]) -> None:
    assert {kind for kind in Kind if opened().allows(role, kind)} == allowed


def test_a_draining_server_answers_and_a_crossing_request_is_no_breach() -> None:
    state = opened()
    assert state.step(Role.SERVER, Kind.GOAWAY)
    assert not state.step(Role.SERVER, Kind.GOAWAY)
    assert state.step(Role.CLIENT, Kind.REQUEST)
    assert state.step(Role.SERVER, Kind.ANSWER)
    assert not state.stopped


@pytest.mark.parametrize("role", Role)
def test_when_one_side_ends_both_have_ended(role: Role) -> None:
    state = opened()
    assert state.step(role, Kind.EOF)
    assert (state[Role.CLIENT], state[Role.SERVER]) == (State.CLOSED, State.CLOSED)
    assert {kind for kind in Kind if state.allows(role.other, kind)} == {Kind.EOF}


def test_a_server_has_one_last_word_to_a_client_that_broke_the_protocol() -> None:
    state = opened()
    state.fail(Role.CLIENT)
    assert state[Role.SERVER] is State.LAST_WORD
    assert not state.allows(Role.SERVER, Kind.ANSWER)
    assert state.step(Role.SERVER, Kind.NOTICE)
    assert not state.allows(Role.SERVER, Kind.NOTICE)


def test_a_client_has_nothing_to_say_to_a_server_that_broke_the_protocol() -> None:
    state = opened()
    state.fail(Role.SERVER)
    assert state[Role.CLIENT] is State.CLOSED


@pytest.mark.parametrize("before", [[], [(Role.CLIENT, Kind.HELLO)]])
def test_a_notice_before_hello_refuses_the_connection(before: list[tuple[Role, Kind]]) -> None:
    state = ProtocolState()
    for step in before:
        assert state.step(*step)
    assert state.step(Role.SERVER, Kind.NOTICE)
    assert (state[Role.CLIENT], state[Role.SERVER]) == (State.CLOSED, State.CLOSED)


@given(st.lists(st.tuples(st.sampled_from(Role), st.sampled_from([*Kind, None]))))
def test_no_walk_leaves_the_tables_and_nothing_follows_an_end(walk: list[tuple[Role, Kind | None]]) -> None:
    state = ProtocolState()
    for role, kind in walk:
        before = (state[Role.CLIENT], state[Role.SERVER])
        if kind is None:
            state.fail(role)
        elif not state.step(role, kind):
            assert (state[Role.CLIENT], state[Role.SERVER]) == before
        after = (state[Role.CLIENT], state[Role.SERVER])
        assert after[0] in STATES[Role.CLIENT]
        assert after[1] in STATES[Role.SERVER]
        assert after not in JOINT
        if State.CLOSED in before or State.FAILED in before:
            assert State.OPEN not in after
