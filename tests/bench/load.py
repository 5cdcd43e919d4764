"""Compiles the load generator with the system's C compiler and runs it."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import msgspec

from bench.templates import Template

__all__ = ["Load", "LoadFailed", "PartMissing", "Running", "Sample", "explain"]

_SOURCE = Path(__file__).with_name("load.c")
# Counters of one run never meet those of another: a sample of minutes sends fewer requests than this.
_COUNTERS_A_RUN = 1 << 28


class PartMissing(Exception):
    """Something of the machine's that a row needs is not there; the text says how to get it."""


class LoadFailed(Exception):
    """The load could not be put on: the generator does not compile, no connection, no hello."""


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one run of the load generator saw; latencies in microseconds, of the whole sample.

    `p99_by_time_us`: 99 % of the time was spent in requests that took no longer; unlike p99 it shows a
    stall of the closed loop, which is a single latency.
    """

    connections: int
    requests: int
    answered: int
    failures: int
    seconds: float
    rate: float
    p50_us: float
    p99_us: float
    p99_by_time_us: float
    max_us: float
    first_failure: str = ""


@dataclass(slots=True)
class Running:
    """A load that is on; `stop` closes its window and gives the sample."""

    process: subprocess.Popen[str]

    def wait_measuring(self) -> None:
        """Returns when the warm-up is over."""
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        if line.strip() != "measuring":
            raise LoadFailed(line.strip() or "the load generator ended before it measured")

    def stop(self) -> Sample:
        """Closes the window now, lets what is in flight be answered, and gives the sample."""
        self.process.terminate()
        return self.result()

    def result(self) -> Sample:
        """The sample, once the window has closed by itself."""
        stdout, stderr = self.process.communicate()
        if self.process.returncode:
            raise LoadFailed(stderr.strip() or f"the load generator ended with {self.process.returncode}")
        return msgspec.json.decode(stdout, type=Sample)


class Load:
    """The compiled load generator, in a directory of the caller's."""

    def __init__(self, directory: Path) -> None:
        """Compile it; PartMissing where there is no C compiler, LoadFailed where it does not compile."""
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise PartMissing("no C compiler (`cc`): apt-get install gcc libc6-dev")
        self._directory = directory
        self._program = directory / "load"
        self._runs = count()
        command = [compiler, "-std=gnu11", "-O2", "-o", str(self._program), str(_SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LoadFailed(f"load.c does not compile: {done.stderr.strip()[:400]}")

    def run(self, socket: Path, template: Template, connections: int, seconds: float, warm: float) -> Sample:
        """One sample: `connections` closed loops for `seconds` after `warm` seconds that do not count."""
        with self.start(socket, template, connections, seconds, warm) as running:
            return running.result()

    @contextmanager
    def start(
        self, socket: Path, template: Template, connections: int, seconds: float, warm: float
    ) -> Iterator[Running]:
        """The same, running beside the caller; killed if the caller leaves before its end."""
        command = [str(self._program), "--socket", str(socket), "--connections", str(connections)]
        command += ["--seconds", str(seconds), "--warm", str(warm)]
        command += self._arguments(template)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield Running(process)
            finally:
                if process.poll() is None:
                    process.kill()

    def kept(self) -> bytes:
        """The body of the last successful answer of the last run."""
        return (self._directory / "kept").read_bytes()

    def _arguments(self, template: Template) -> list[str]:
        run = next(self._runs)
        request = self._directory / "request"
        request.write_bytes(template.request)
        arguments = ["--request", str(request), "--first", str(run * _COUNTERS_A_RUN)]
        arguments += ["--keep", str(self._directory / "kept")]
        for expectation in template.expectations:
            arguments += ["--expect", expectation.argument()]
        for offset in template.counters:
            arguments += ["--counter", str(offset)]
        if template.hello is not None:
            greeting = self._directory / "hello"
            greeting.write_bytes(template.hello)
            arguments += ["--hello", str(greeting), "--greeting", template.greeting.hex()]
        if template.id_offset is not None:
            arguments += ["--id", str(template.id_offset), "--echo", template.echo.hex()]
        return arguments


def explain(sample: Sample) -> str:
    """The first failed answer of a sample in words: its msgpack as JSON, else its bytes in hex."""
    if not sample.first_failure:
        return "no answer, or the connection was closed"
    try:
        return json.dumps(msgspec.msgpack.decode(bytes.fromhex(sample.first_failure)), default=repr)
    except (ValueError, msgspec.DecodeError):
        return sample.first_failure
