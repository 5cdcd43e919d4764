import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from bench.processes import MemoryWatch, cpu_seconds, memory_mib, status_kib, tree, usages

CHILD = "import sys; held = bytearray(int(sys.argv[1])); print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", CHILD, str(40 << 20)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.communicate()


def test_a_tree_holds_the_root_and_its_children(child: subprocess.Popen[str]) -> None:
    found = tree(os.getpid())
    assert found[os.getpid()] == "front end"
    assert found[child.pid] == "other"
    assert child.pid not in tree(child.pid) or list(tree(child.pid)) == [child.pid]


def test_the_role_comes_from_the_module_that_python_runs() -> None:
    command = [sys.executable, "-m", "timeit", "-n", "1", "-r", "1", "import time; 'sealer'; time.sleep(5)"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        end = time.monotonic() + 5
        while tree(os.getpid()).get(process.pid) != "sealer" and time.monotonic() < end:
            time.sleep(0.01)
        assert tree(os.getpid())[process.pid] == "sealer"
        process.terminate()


def test_memory_is_what_the_process_holds(child: subprocess.Popen[str]) -> None:
    memory, measure = memory_mib(child.pid)
    assert measure in {"pss", "rss"}
    assert 40 < memory < 120
    assert status_kib(child.pid)["RssAnon"] > 40 * 1024


def test_usages_name_memory_and_processor_time_of_each(child: subprocess.Popen[str]) -> None:
    (usage,) = [usage for usage in usages(os.getpid()) if usage.pid == child.pid]
    assert usage.memory_mib > 40
    assert usage.cpu_s == cpu_seconds(child.pid)


def test_a_watch_sees_a_peak_that_has_gone_again() -> None:
    with MemoryWatch(os.getpid(), interval_s=0.005) as watch:
        held = bytearray(64 << 20)
        held[::4096] = b"x" * len(held[::4096])
        time.sleep(0.2)
        del held
    assert watch.growth_of("front end") >= 60
    assert watch.growth_mib >= 60


def test_a_watch_counts_a_memfd_that_nobody_maps() -> None:
    with MemoryWatch(os.getpid(), interval_s=0.005) as watch:
        descriptor = os.memfd_create("held")
        for _ in range(64):
            os.write(descriptor, b"x" * (1 << 20))
        time.sleep(0.2)
        os.close(descriptor)
    assert watch.growth_mib >= 60
