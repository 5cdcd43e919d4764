from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from fakes.contracts import failing, plugin
from fakes.small_log import LIES, LogServer, SmallLog, prove
from fakes.small_sink import SmallSink, kept, out
from signerd.contracts.values import LogFound
from signerd.errors import Fault
from signerd_conformance.contracts import AuditSinkContract, TransparencyLogContract


def strict(make: Callable[[], object]) -> Callable[[dict[str, object]], object]:
    def introduce(settings: dict[str, object]) -> object:
        if settings:
            raise ValueError("no settings")
        return make()

    return introduce


ORDER, KEPT, ANOTHER, AGAIN, OUTAGE = SINK = (
    "leaves_are_kept_in_their_order_byte_for_byte",
    "what_is_shipped_is_kept_when_ship_returns",
    "another_instance_adds_to_what_is_kept",
    "what_comes_again_is_kept_again_or_once",
    "an_outage_is_told_and_is_over_when_it_is_over",
)


def judged_sink(file: Path, make: Callable[[], object]) -> set[str]:
    SmallSink(file).ship([])

    class Contract(AuditSinkContract):
        def kept(self) -> Sequence[bytes]:
            return kept(file)

        def outage(self) -> AbstractContextManager[object]:
            return out(file)

    return failing(Contract, plugin("signerd_audit_sinks", strict(make)))


@pytest.mark.parametrize(
    ("flaw", "failed"),
    [
        ("none", set()),
        ("next_time", {ORDER, KEPT, ANOTHER}),
        ("sorted", {ORDER}),
        ("text", {ORDER}),
        ("stripped", {ORDER}),
        ("ends_line", {KEPT}),
        ("counts", set(SINK)),
        ("starts_anew", {ANOTHER}),
        ("refuses_again", {AGAIN}),
        ("forgets_again", {AGAIN}),
        ("silent", {OUTAGE}),
        ("foreign", {OUTAGE}),
        ("other_code", {OUTAGE}),
    ],
)
def test_audit_sinks(flaw: str, failed: set[str], tmp_path: Path) -> None:
    file = tmp_path / "leaves.sqlite"
    assert judged_sink(file, partial(SmallSink, file, flaw)) == failed


@pytest.mark.parametrize("made", [object(), SmallSink])
def test_what_is_no_sink_fails_everything(made: object, tmp_path: Path) -> None:
    assert judged_sink(tmp_path / "leaves.sqlite", lambda: made) == set(SINK)


LOOKS = "a_log_that_can_look_finds_what_it_has"
PROVEN, GOES_ON, ONCE_MORE, DOWN, CHECKED = LOG = (
    "an_entry_proves_what_was_submitted",
    "another_instance_goes_on",
    "what_comes_again_has_an_entry_again",
    "an_outage_is_told_and_is_over_when_it_is_over",
    "what_the_log_says_is_checked_before_it_is_returned",
)


def judged_log(make: Callable[[LogServer], object], *lies: str) -> set[str]:
    server = LogServer()

    class Contract(TransparencyLogContract):
        def prove(self, entry: bytes, payload_digest: bytes, signature: bytes, verifier: bytes) -> None:
            prove(server, entry, payload_digest, signature, verifier)

        def outage(self) -> AbstractContextManager[object]:
            return server.outage()

        def lies(self) -> Sequence[AbstractContextManager[object]]:
            return [server.lying(lie) for lie in lies]

    return failing(Contract, plugin("signerd_transparency_logs", strict(partial(make, server))))


@pytest.mark.parametrize(
    ("flaw", "failed"),
    [
        ("none", set()),
        ("own_leaf", set(LOG)),
        ("always_the_first", {PROVEN, CHECKED}),
        ("text", set(LOG)),
        ("empty", set(LOG)),
        ("refuses_again", {ONCE_MORE, DOWN, CHECKED}),
        ("foreign", {DOWN}),
        ("promises", {DOWN}),
        ("other_code", {DOWN}),
        ("unchecked", {CHECKED}),
        ("takes_any_key", {CHECKED}),
    ],
)
def test_transparency_logs(flaw: str, failed: set[str]) -> None:
    assert judged_log(partial(SmallLog, flaw=flaw), *LIES) == failed


@pytest.mark.parametrize("lie", LIES)
def test_every_lie_is_one_that_only_a_check_finds(lie: str) -> None:
    assert judged_log(SmallLog, lie) == set()
    assert judged_log(partial(SmallLog, flaw="unchecked"), lie) == {CHECKED}


def test_a_log_must_be_lied_to() -> None:
    assert judged_log(SmallLog) == {CHECKED}


@pytest.mark.parametrize("made", [object(), SmallLog])
def test_what_is_no_log_fails_everything(made: object) -> None:
    assert judged_log(lambda server: made, *LIES) == {*LOG, LOOKS}


class FindingLog(SmallLog):
    """It remembers what it has submitted."""

    capabilities = ("find",)

    def __init__(self, server: LogServer, looks: str) -> None:
        super().__init__(server)
        self.looks = looks
        self.entries: dict[bytes, bytes] = {}

    def submit(self, payload_digest: bytes, signature: bytes, verifier: bytes) -> bytes:
        entry = super().submit(payload_digest, signature, verifier)
        assert isinstance(entry, bytes)
        self.entries[payload_digest] = entry
        return entry

    def find(self, payload_digest: bytes) -> object:
        if self.server.down and self.looks != "silent":
            raise Fault("transparency.unavailable", "log_down", "no")
        if self.looks == "none":
            return LogFound((), 0, len(self.entries))
        entry = b"{}" if self.looks == "unproven" else self.entries.get(payload_digest)
        if self.looks == "anything":
            entry = entry or b"{}"
        known = payload_digest in self.entries or self.looks == "anything"
        found = (entry,) if known and entry is not None else ()
        size = -1 if self.looks == "size" else len(self.entries)
        return found if self.looks == "tuple" else LogFound(found, 0, size)


@pytest.mark.parametrize(
    ("looks", "failed"),
    [
        ("right", set()),
        ("none", {LOOKS}),
        ("unproven", {LOOKS}),
        ("anything", {LOOKS}),
        ("silent", {LOOKS}),
        ("tuple", {LOOKS}),
        ("size", {LOOKS}),
    ],
)
def test_logs_that_can_look(looks: str, failed: set[str]) -> None:
    assert judged_log(partial(FindingLog, looks=looks), *LIES) == failed


def test_what_a_log_can_is_declared() -> None:
    class Silent(FindingLog):
        capabilities = ()  # type: ignore[assignment]  # what it is about

    class Boasting(SmallLog):
        capabilities = ("find",)

    assert judged_log(partial(Silent, looks="right"), *LIES) == {LOOKS}
    assert judged_log(Boasting, *LIES) == {LOOKS}
