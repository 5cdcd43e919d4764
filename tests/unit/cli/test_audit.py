import signal
import subprocess
import sys

import pytest

from signerd.cli.main import main
from signerd.contracts.services import Leaf
from signerd.sealer.audit import FILE_NAME, SqliteAuditStore

DEAD = """
import sys, time
from pathlib import Path
from signerd.contracts.services import Leaf
from signerd.sealer.audit import SqliteAuditStore
store = SqliteAuditStore(Path(sys.argv[1]))
store.append_many([Leaf(b'{"kind":"decided"}', "01A", "decided", "t", 1)])
store.append_many([Leaf(b'{"kind":"outcome"}', "01A", "outcome", "t", 2, "signed")])
print("there", flush=True)
time.sleep(600)
"""


@pytest.fixture
def state(tmp_path):
    store = SqliteAuditStore(tmp_path / FILE_NAME)
    store.append_many(
        [
            Leaf(
                b"leaf %d" % n,
                f"id{n}",
                "refused",
                "even" if n % 2 == 0 else "odd",
                n,
                "refused",
                "quota.rate",
            )
            for n in range(450)
        ]
    )
    yield str(tmp_path)
    store.close()


def test_one_record_beside_a_dead_daemons_files(tmp_path, capfdbinary):
    daemon = subprocess.Popen([sys.executable, "-c", DEAD, str(tmp_path / FILE_NAME)], stdout=subprocess.PIPE)
    assert daemon.stdout is not None
    daemon.stdout.readline()
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    daemon.stdout.close()
    assert main(["audit", "query", "--state", str(tmp_path), "--id", "01A"]) == 0
    assert capfdbinary.readouterr().out == b'{"kind":"decided"}\n{"kind":"outcome"}\n'


def test_a_running_daemons_log_can_be_read(state, capfdbinary):
    assert main(["audit", "query", "--state", state, "--id", "id7"]) == 0
    assert capfdbinary.readouterr().out == b"leaf 7\n"


def test_the_configuration_says_where_the_log_is(state, tmp_path, capfdbinary):
    file = tmp_path / "signerd.toml"
    file.touch(mode=0o600)
    file.write_text(
        f'[daemon]\nstate = "{state}"\n[plugins.a]\ncertificate = "none"\n[backends.file]\nscheme = "file"\n'
        'certificate = "none"\n[tenants.t]\nkeys = ["file:k"]\n[keys."file:k"]\nbackend = "file"\ntenant = "t"\n'
    )
    assert main(["audit", "query", "--config", str(file), "--id", "id7"]) == 0
    assert capfdbinary.readouterr().out == b"leaf 7\n"
    assert main(["audit", "query", "--config", str(file), "--state", str(tmp_path / "none")]) == 4


def test_no_such_record_and_no_log_at_all_are_exit_code_4(state, tmp_path, capsys):
    assert main(["audit", "query", "--state", state, "--id", "id450"]) == 4
    assert main(["audit", "query", "--state", str(tmp_path / "none"), "--id", "id1"]) == 4
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[0] == "signerd: no leaf matches"
    assert "there is no audit log at" in said.err.splitlines()[1]
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("wrong", [["--limit", "0"], ["--limit", "x"], ["--cursor", "-1"], ["--cursor", "9" * 20]])
def test_what_is_no_number_of_leaves_is_a_usage_error(wrong, state, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["audit", "query", "--state", state, *wrong])
    assert caught.value.code == 2
    assert "expected a whole number" in capsys.readouterr().err


def test_filters_limits_and_the_cursor_that_goes_on(state, capsys):
    query = ["audit", "query", "--state", state, "--tenant", "odd", "--code", "quota.rate"]
    assert main([*query, "--limit", "210"]) == 0
    first = capsys.readouterr()
    assert first.out.splitlines() == [f"leaf {n}" for n in range(1, 420, 2)]
    assert first.err.strip() == "signerd: more follows: --cursor 420"
    assert main([*query, "--cursor", "420"]) == 0
    rest = capsys.readouterr()
    assert rest.out.splitlines() == [f"leaf {n}" for n in range(421, 450, 2)]
    assert rest.err == ""
