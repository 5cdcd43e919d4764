"""The page for plugin authors is true: its plugins are built, installed, let in by real daemons, and decide."""

import contextlib
import json
import os
import re
import socketserver
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from outside.parts import ROOT
from running.callers import request
from running.configured import configuration, until
from running.daemon import Running, running
from signerd.errors import SignerdError
from signerd.host.guard import PROVIDER_SECONDS
from signerd_client import Signer

PAGE = (ROOT / "docs" / "writing-a-policy-plugin.md").read_text(encoding="utf-8")
FILES = {
    name: text
    for text, name in re.findall(r"^```\w+\n(# (\S+?)(?:, in part)?\n.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
}
BUILD = "import sys; from flit_core.buildapi import build_wheel; print(build_wheel(sys.argv[1]))"
PIP = ["-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps", "--no-index"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's plugins in it, as pip installs them from the wheels that flit makes."""
    site = tmp_path_factory.mktemp("site")
    for base, package in (("", "signerd_auth_roster"), ("quota/", "signerd_quota_shared")):
        source = tmp_path_factory.mktemp("source")
        for name in ("pyproject.toml", f"{package}/plugin.py"):
            file = source / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(FILES[base + name])
        (source / package / "__init__.py").touch()
        build = [sys.executable, "-c", BUILD, str(source)]
        wheel = subprocess.run(build, cwd=source, capture_output=True, text=True, check=True).stdout.strip()
        subprocess.run([sys.executable, *PIP, "--target", str(site), str(source / wheel)], check=True, umask=0o022)
    site.chmod(0o755)
    return site


class Roster(socketserver.ThreadingUnixStreamServer):
    """The service that the plugin asks. ``names`` by uid; a question waits while ``held`` is set for it."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(os.fspath(path), _Question)
        self.names = {os.getuid(): "builder"}
        self.asked = 0
        self.held: list[threading.Event] = []
        self.holding = threading.Event()


class _Question(socketserver.StreamRequestHandler):
    server: Roster

    def handle(self) -> None:
        uid = int(self.rfile.readline())
        self.server.asked += 1
        if self.server.held:
            held = self.server.held.pop()
            self.server.holding.set()
            assert held.wait(20)
        if uid in self.server.names:
            self.wfile.write(self.server.names[uid].encode() + b"\n")


@pytest.fixture
def roster(tmp_path: Path) -> Iterator[Roster]:
    with Roster(tmp_path / "roster.sock") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def config(base: Path) -> str:
    """The test daemon's configuration, with the page's part before the authenticator that knows all the others."""
    part = FILES["signerd.toml"].replace("/run/roster.sock", str(base / "roster.sock"))
    plan = '[plugins.entitlement-file.tenants.local]\nplan = "default"\n'  # "embedded" is for uids alone
    return part + plan + configuration(base, {})


@pytest.fixture
def daemon(site: Path, tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, config=config(tmp_path), environment={"PYTHONPATH": str(site)}) as started:
        yield started


def principals(daemon: Running) -> list[str]:
    """Who asked for each signature, by the record."""
    leaves = [json.loads(bytes(row["leaf"])) for row in daemon.leaves()]  # type: ignore[call-overload]  # a blob
    return [leaf["decision"]["principal"] for leaf in leaves if leaf["kind"] == "decided"]


def sign(daemon: Running) -> None:
    with Signer.connect(daemon.socket) as signer:
        signer.sign_dsse(request())


def test_who_is_in_the_roster_signs_under_its_name_and_is_asked_for_once(daemon: Running, roster: Roster) -> None:
    sign(daemon)
    sign(daemon)
    assert principals(daemon) == ["builder", "builder"]
    assert roster.asked == 1


def test_who_is_not_is_left_to_the_next_authenticator(daemon: Running, roster: Roster) -> None:
    roster.names.clear()
    sign(daemon)
    assert principals(daemon) == [f"uid:{os.getuid()}"]


@pytest.mark.parametrize("name", ["no name", "x" * 200])
def test_an_answer_that_is_no_name_lets_nobody_in(daemon: Running, roster: Roster, name: str) -> None:
    roster.names[os.getuid()] = name
    with pytest.raises(SignerdError) as refused:
        sign(daemon)
    assert (refused.value.code, refused.value.reason) == ("internal", "roster_garbled")


def test_without_the_service_nobody_is_let_in_and_told_where_it_lies(daemon: Running) -> None:
    with pytest.raises(SignerdError) as refused:
        sign(daemon)
    assert (refused.value.code, refused.value.reason) == ("internal", "roster_unreachable")
    assert "roster.sock" not in str(refused.value)
    until(lambda: f"roster_unreachable): {daemon.base / 'roster.sock'}: " in daemon.said)


def test_others_are_let_in_while_one_waits_for_the_service(daemon: Running, roster: Roster) -> None:
    held = threading.Event()
    roster.held.append(held)
    first = threading.Thread(target=sign, args=(daemon,))
    first.start()
    try:
        assert roster.holding.wait(10)
        sign(daemon)
        assert first.is_alive()
    finally:
        held.set()
        first.join()
    assert principals(daemon) == ["builder", "builder"]


def test_the_time_that_an_awaitable_has_is_the_guards() -> None:
    assert "for at most ten seconds" in PAGE
    assert PROVIDER_SECONDS == 10


def signerd(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "signerd"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_commands_of_the_page_show_it_and_what_is_wrong_with_its_settings(site: Path, tmp_path: Path) -> None:
    file = tmp_path / "signerd.toml"
    for text, said in (
        (config(tmp_path), ": ok"),
        (config(tmp_path).replace('tenant = "local"\n', "", 1), "expected socket and tenant, each a text"),
        (config(tmp_path).replace('"1.0"', '"1.1"'), "pins version 1.1"),
    ):
        file.write_text(text)
        file.chmod(0o600)
        assert said in signerd(site, "check", "--config", str(file)).stderr
    listed = signerd(site, "plugins", "--output", "json").stdout
    assert {"auth-roster"} <= {row["name"] for row in json.loads(listed) if row["kind"] == "policy"}


def shared(base: Path, file: Path) -> str:
    """The test daemon's configuration with the page's quota store, and a plan of three signatures."""
    part = FILES["quota.toml"].replace("/run/quota.sqlite", str(file))
    plan = "[plugins.entitlement-file.tenants.local]\nplan = 'three'\n"
    plan += "[plugins.entitlement-file.plans.three]\nconcurrency = 9\nsize = 1048576\nrate = 0.001\nburst = 3\n"
    return part + plan + configuration(base, {})


def test_two_daemons_share_one_plan(site: Path, tmp_path: Path) -> None:
    file = tmp_path / "quota.sqlite"
    environment = {"PYTHONPATH": str(site)}
    first, second = tmp_path / "first", tmp_path / "second"
    for base in (first, second):
        base.mkdir()
    with (
        running(first, config=shared(first, file), environment=environment) as one,
        running(second, config=shared(second, file), environment=environment) as other,
    ):
        for daemon in (one, other, one):
            sign(daemon)
        for daemon in (one, other):
            with pytest.raises(SignerdError) as refused:
                sign(daemon)
            assert (refused.value.code, refused.value.reason) == ("quota.rate", "limit_reached")
            assert refused.value.retryable
    with contextlib.closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT count(*) FROM slots").fetchone() == (0,)
        assert database.execute("SELECT sum(signed) FROM days").fetchone() == (3,)


def test_the_file_of_the_store_that_cannot_be_read_is_told_to_the_operator_alone(site: Path, tmp_path: Path) -> None:
    file = tmp_path / "quota.sqlite"
    file.write_bytes(b"no database" * 100)
    with running(tmp_path, config=shared(tmp_path, file), environment={"PYTHONPATH": str(site)}) as daemon:
        with pytest.raises(SignerdError) as refused:
            sign(daemon)
        assert (refused.value.code, refused.value.reason) == ("internal", "quota_store_down")
        assert "quota.sqlite" not in str(refused.value)
        until(lambda: f"quota_store_down): {file}: " in daemon.said)


def test_the_store_keeps_to_the_contract_as_the_page_says(site: Path, tmp_path: Path) -> None:
    (tmp_path / "test_contract.py").write_text(FILES["quota/tests/test_contract.py"])
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_contract.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "12 passed" in done.stdout


def test_their_types_are_those_of_the_contract(site: Path, tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(
        "from signerd.contracts.providers import Authenticator\n"
        "from signerd.contracts.services import QuotaStore\n"
        "from signerd_auth_roster.plugin import Roster\n"
        "from signerd_quota_shared.plugin import SharedStore\n"
        "made: Authenticator = Roster('', '')\n"
        "also: QuotaStore = SharedStore('', 1)\n"
    )
    checked = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull, "use.py"]
    files = [os.fspath(site / package / "plugin.py") for package in ("signerd_auth_roster", "signerd_quota_shared")]
    environment = {**os.environ, "MYPYPATH": str(site)}
    done = subprocess.run(
        [*checked, *files], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
