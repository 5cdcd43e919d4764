import os
import pwd
import subprocess
import sys

import pytest

from signerd.cli.main import main, parser
from signerd.cli.serve import configuration
from signerd.host.config import ConfigError

DIGEST = "sha256:" + "a" * 64


def meant(*arguments):
    return configuration(parser().parse_args(["serve", *arguments]))


def test_without_a_file_the_embedded_defaults_with_the_commands_paths_and_releases(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = meant(
        "--state",
        "state",
        "--socket",
        "s.sock",
        "--allow-release",
        DIGEST,
        "--allow-release",
        DIGEST[:-1] + "b",
    )
    assert config.daemon.state == str(tmp_path / "state")
    assert config.sockets.sign.path == str(tmp_path / "s.sock")
    allowed = next(plugin.settings for plugin in config.plugins if plugin.name == "release-allowlist")
    assert [entry["digest"] for entry in allowed["releases"]] == [DIGEST, DIGEST[:-1] + "b"]
    assert not (tmp_path / "state").exists()


def test_without_paths_those_of_the_environment(monkeypatch):
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/x")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    config = meant()
    assert (config.daemon.state, config.sockets.sign.path) == ("/var/lib/x", "/run/user/7/signerd/sign.sock")


def test_a_file_has_its_own_list_of_releases(tmp_path):
    with pytest.raises(ConfigError, match="--allow-release: expected without --config"):
        meant("--config", str(tmp_path / "f.toml"), "--allow-release", DIGEST)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--allow-release", "latest"], "embedded defaults: releases: expected sha256: and 64 hex digits"),
        (
            ["--config", "/nonexistent/signerd.toml"],
            "/nonexistent/signerd.toml: (file): expected a readable file",
        ),
    ],
)
def test_what_cannot_be_served_ends_at_once_with_exit_code_2(arguments, said, tmp_path, capsys):
    paths = ["--state", str(tmp_path / "state"), "--socket", str(tmp_path / "s.sock")]
    assert main(["serve", *paths, *arguments]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_another_user_than_the_file_names_is_refused_before_anything_is_made(tmp_path):
    other = next(each.pw_name for each in pwd.getpwall() if each.pw_uid != os.geteuid())
    file = tmp_path / "f.toml"
    file.write_text(f"""
        daemon = {{ user = "{other}", state = "{tmp_path}/state" }}
        plugins.auth-peercred.certificate = "none"
        backends.file = {{ scheme = "file", certificate = "none" }}
        tenants.local.keys = ["file:a"]
        keys."file:a" = {{ backend = "file", tenant = "local" }}
    """)
    file.chmod(0o600)
    done = subprocess.run(
        [sys.executable, "-m", "signerd.cli.main", "serve", "--config", str(file)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": ""},
    )
    assert done.returncode == 2
    assert "daemon.user: expected to run as uid" in done.stderr
    assert [found.name for found in tmp_path.iterdir()] == ["f.toml"]
