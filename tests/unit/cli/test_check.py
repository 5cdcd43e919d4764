import subprocess
import sys

import pytest

GOOD = """
[daemon]
state = "{state}"
{daemon}
[sockets.sign]
path = "/run/signerd/sign.sock"
[plugins.auth-peercred]
certificate = "none"
{auth}
[plugins.entitlement-file]
certificate = "none"
[plugins.release-allowlist]
certificate = "none"
{releases}
[plugins.predicates-stella]
certificate = "none"
[backends.file]
certificate = "{certificate}"
scheme = "file"
{backend}
[tenants.local]
keys = ["file:default"]
[keys."file:default"]
backend = "file"
tenant = "local"
"""


@pytest.fixture
def check(tmp_path):
    def run(**parts):
        values = dict.fromkeys(("daemon", "auth", "releases", "backend"), "")
        values |= {"state": str(tmp_path / "state"), "certificate": "none"}
        file = tmp_path / "signerd.toml"
        file.write_text(GOOD.format(**values | parts))
        file.chmod(0o600)
        # A process of its own: the check loads plugins as the daemon would.
        return subprocess.run(
            [sys.executable, "-m", "signerd.cli.main", "check", "--config", str(file)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def test_a_good_file_is_ok_and_nothing_is_made(check, tmp_path):
    done = check()
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.endswith("signerd.toml: ok\n")
    assert [found.name for found in tmp_path.iterdir()] == ["signerd.toml"]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"daemon": "stat = 1"}, "daemon.stat: unknown key; expected one of development, state, user"),
        ({"daemon": 'user = "no-such-user"'}, "daemon.user: expected a user of this host"),
        ({"auth": "uid = [5]"}, "plugins: plugin auth-peercred: Object contains unknown field `uid`"),
        ({"auth": 'version = "9.9"'}, "plugins: plugin auth-peercred: the configuration pins version 9.9"),
        ({"releases": 'releases = [{ digest = "latest" }]'}, "plugins: plugin release-allowlist: "),
        (
            {"releases": "[plugins.not-there]\ncertificate = 'none'"},
            "plugins: plugin not-there: no installed distribution offers it",
        ),
        ({"backend": 'version = "9.9"'}, "backends.file.version: expected the installed 0.1.0, got 9.9"),
        ({"backend": f'record = "{"0" * 64}"'}, "backends.file.record: expected the installed "),
        (
            {"daemon": "[conformance]\ncertifiers = ['/absent.pub']", "certificate": "/absent.json"},
            "backends.file: plugin file: /absent.pub: it cannot be read (No such file or directory)",
        ),
        (
            {"backend": "[backends.b]\ncertificate = 'none'\nscheme = 'nosuch'"},
            "backends.b: plugin nosuch: no installed distribution offers it",
        ),
    ],
)
def test_what_serve_would_refuse_is_told_with_file_and_key(check, parts, said):
    done = check(**parts)
    assert (done.returncode, done.stdout) == (2, "")
    assert any("signerd.toml: " + said in line for line in done.stderr.splitlines()), done.stderr


def test_a_state_directory_that_others_can_write_to_is_told(check, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    done = check()
    assert done.returncode == 2
    assert "signerd.toml: daemon.state: state.locked (writable_by_others)" in done.stderr


def test_several_problems_are_told_at_once(check, tmp_path):
    (tmp_path / "state").touch()
    done = check(auth="uid = [5]", backend='version = "9.9"')
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 3, done.stderr


def test_the_credential_of_a_worker_at_a_socket_path_is_looked_at(check, tmp_path):
    credential = tmp_path / "worker.cred"
    credential.write_bytes(bytes(32))
    credential.chmod(0o644)
    socket = "[backends.b]\ncertificate = 'none'\nscheme = 'any-language'\nsocket = '/run/b/x.sock'\ncredential = "
    done = check(backend=f"{socket}'{credential}'")
    assert done.returncode == 2
    assert "backends.b.credential: key.backend_unavailable (credential_mode)" in done.stderr
    credential.chmod(0o600)
    assert check(backend=f"{socket}'{credential}'").returncode == 0, "and nobody asks for an installed backend"
    assert check(backend=f"{socket}'of-systemd.cred'").returncode == 0
