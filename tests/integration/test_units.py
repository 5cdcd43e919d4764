"""The units of systemd/: as tight as they say, and what they start does start so."""

import configparser
import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fakes.links import Talk
from outside.parts import ROOT, the
from running.service import CREDENTIAL, ServiceWorker

UNITS = ROOT / "systemd"
WORKER = UNITS / "signerd-worker@.service"
MOST_EXPOSED = 0.9
"""What a process that holds keys and needs no network may show of itself."""


def read(path: Path) -> dict[str, dict[str, str]]:
    """The unit's sections; a key that comes twice (a filter in two lines) keeps its last value."""
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys have capitals
    unit.read_string(path.read_text())
    return {name: dict(unit[name]) for name in unit.sections()}


@pytest.mark.needs("systemd-analyze")
def test_the_workers_sandbox_is_closed() -> None:
    command = [the("systemd-analyze"), "security", "--offline=true", f"--threshold={MOST_EXPOSED * 10:g}", str(WORKER)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs("systemd-analyze")
def test_the_units_are_understood(tmp_path: Path) -> None:
    for path in UNITS.iterdir():
        text = path.read_text().replace("/usr/bin/python3", sys.executable)
        (tmp_path / path.name.replace("@", "@x")).write_text(text)
    command = [the("systemd-analyze"), "verify", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in done.stderr, done.stderr


AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), CREDENTIALS_DIRECTORY=sys.argv[2])
os.execv(sys.argv[3], sys.argv[3:])
"""


def test_the_unit_starts_a_worker_that_serves(service: ServiceWorker, tmp_path: Path) -> None:
    unit = read(WORKER)["Service"]
    assert unit["LoadCredential"].split(":")[0] == "worker.cred"
    (tmp_path / "worker.cred").write_bytes(CREDENTIAL)
    (tmp_path / "worker.cred").chmod(0o440)
    command = shlex.split(
        unit["ExecStart"]
        .replace("/usr/bin/python3", sys.executable)
        .replace("${SEALER_UID}", str(os.geteuid()))
        .replace("/etc/signerd/workers/%i.json", str(service.settings))
    )
    assert not [part for part in command if "%" in part or "$" in part]
    with service.listener() as listener:
        passed = str(listener.fileno())
        service.process = subprocess.Popen(
            [sys.executable, "-c", AS_SYSTEMD, passed, str(tmp_path), *command],
            stdin=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )
        connection = service.connect_to(service.process.pid)
    with connection:
        assert Talk(connection).hello(bytes(32))["methods"]


def test_socket_and_configuration_fit_together() -> None:
    path = read(UNITS / "signerd-worker@.socket")["Socket"]["ListenStream"].replace("%i", "release")
    page = (ROOT / "docs" / "configuration.md").read_text()
    (shown,) = [block for block in page.split("```toml\n") if "worker_uid = " in block.split("```")[0]]
    assert tomllib.loads(shown.split("```")[0])["backends"]["release"]["socket"] == path
