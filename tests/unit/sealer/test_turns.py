from signerd.sealer.turns import Turns


def begun(log: list[str], name: str, *, wanted: bool = True) -> bool:
    log.append(name)
    return wanted


def test_each_tenant_has_so_many_and_its_own_order() -> None:
    turns, log = Turns(2), list[str]()
    for name in ("a1", "a2", "a3", "a4", "b1"):
        turns.take(name[0], lambda name=name: begun(log, name))  # type: ignore[misc]  # bound at once
    assert log == ["a1", "a2", "b1"]
    turns.over("a")
    assert log == ["a1", "a2", "b1", "a3"]
    turns.over("b")
    turns.over("a")
    assert log[-1] == "a4"
    turns.over("a")
    turns.over("a")
    turns.take("a", lambda: begun(log, "a5"))
    assert log[-1] == "a5"


def test_what_nobody_wants_any_more_takes_no_turn() -> None:
    turns, log = Turns(1), list[str]()
    turns.take("a", lambda: begun(log, "first"))
    turns.take("a", lambda: begun(log, "given up", wanted=False))
    turns.take("a", lambda: begun(log, "last"))
    turns.over("a")
    assert log == ["first", "given up", "last"]


def test_what_is_over_at_once_lets_the_next_one_in_however_many_they_are() -> None:
    turns, log = Turns(1), list[int]()

    def at_once(number: int) -> bool:
        log.append(number)
        turns.over("a")
        return True

    turns.take("a", lambda: True)
    for number in range(5000):
        turns.take("a", lambda number=number: at_once(number))  # type: ignore[misc]  # bound at once
    assert log == []
    turns.over("a")
    assert log == [*range(5000)]
