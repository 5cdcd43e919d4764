import time

from signerd.contracts.services import Clock
from signerd.host.clock import SystemClock, boot_id


def test_it_tells_the_systems_time() -> None:
    clock: Clock = SystemClock()
    before = time.time()
    assert before * 1000 - 2 <= clock.now_ms() <= time.time() * 1000 + 2
    assert isinstance(clock.now_ms(), int)


def test_its_seconds_never_go_back() -> None:
    clock = SystemClock()
    seconds = [clock.monotonic() for _ in range(1000)]
    assert seconds == sorted(seconds)
    assert abs(time.monotonic() - clock.monotonic()) < 1


def test_a_boot_is_told_from_others_by_the_kernels_word() -> None:
    assert boot_id() == boot_id()
    assert len(boot_id()) == 36
