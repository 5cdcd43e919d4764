import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from signerd.errors import Refusal, exit_code
from signerd.host.config import (
    ConfigError,
    check_user,
    decode,
    default_socket,
    default_state,
    embedded,
    encode,
    load,
    parse,
    settle_socket,
)
from signerd.host.config_limits import Limits

GOOD = """
[daemon]
state = "/var/lib/signerd"

[sockets.sign]
path = "/run/signerd/sign.sock"
mode = 0o660
uids = [1000, 1001]

[limits]
request_deadline_s = 10
connections = 300

[plugins.auth-peercred]
certificate = "none"
uids = [1000]
[plugins.auth-peercred.callers.1001]
tenant = "acme"

[plugins.release-allowlist]
certificate = "none"
version = "0.1.0"
record = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
releases = [{ digest = "sha256:00" }]

[backends.soft]
certificate = "none"
scheme = "file"
call_deadline_s = 2.5
settings = { directory = "/var/lib/signerd/keys" }

[backends.hsm]
certificate = "none"
scheme = "pkcs11"
kind = "hsm"

[tenants.acme]
keys = ["file:one", "pkcs11:token=a;object=b"]
default_key = "file:one"
exempt_predicates = ["https://example.org/x"]

[tenants.other]
keys = ["file:two"]
predicates = ["https://cyclonedx.org/bom"]

[keys."file:one"]
backend = "soft"
tenant = "acme"
generate = "ES256"

[keys."file:two"]
backend = "soft"
tenant = "other"

[keys."pkcs11:token=a;object=b"]
backend = "hsm"
tenant = "acme"
"""


def problems(text, **arguments):
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.toml", **arguments)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def changed(old, new):
    assert GOOD.count(old) >= 1
    return problems(GOOD.replace(old, new, 1))


def test_a_whole_file():
    config = parse(GOOD, "f.toml")
    assert config.daemon.state == "/var/lib/signerd"
    assert (config.sockets.sign.mode, config.sockets.sign.uids) == (0o660, (1000, 1001))
    assert (config.limits.request_deadline_s, config.limits.connections, config.limits.in_flight) == (
        10,
        300,
        64,
    )
    assert [plugin.name for plugin in config.plugins] == ["auth-peercred", "release-allowlist"]
    assert config.plugins[0].settings == {"uids": [1000], "callers": {"1001": {"tenant": "acme"}}}
    assert (config.plugins[1].version, config.plugins[1].record) == ("0.1.0", "a" * 64)
    assert config.plugins[1].settings == {"releases": [{"digest": "sha256:00"}]}
    assert [backend.deadline_s(config.limits) for backend in config.backends] == [2.5, 10]
    assert [tenant.default_key for tenant in config.tenants] == ["file:one", "file:two"]
    assert config.tenants[0].predicates is None
    assert config.tenants[1].predicates == ("https://cyclonedx.org/bom",)
    assert [key.generate for key in config.keys] == ["ES256", None, None]
    assert config.source == "f.toml"


def test_it_reaches_another_process_unchanged():
    config = parse(GOOD, "f.toml")
    assert decode(encode(config)) == config


@pytest.mark.parametrize("raw", [b"", b"{}", b"\xff", b'{"daemon": 1}'])
def test_a_handed_configuration_that_is_none(raw):
    with pytest.raises(ConfigError, match="handed configuration"):
        decode(raw)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("mode = 0o660", "mode = 0o777", "sockets.sign.mode: expected one of 0o600, 0o660, 0o666"),
        ("mode = 0o660", 'mode = "0660"', "sockets.sign.mode: expected `int`, got `str`"),
        ("mode = 0o660", "mod = 0o660", "sockets.sign.mod: unknown key; expected one of mode, path, uids"),
        ("uids = [1000, 1001]", "uids = [1000, -1]", "sockets.sign.uids: at [1]: expected `int` >= 0"),
        ("[sockets.sign]", "[sockets.other]", "sockets.other: unknown key; expected one of admin, sign"),
        ("[limits]", "[limit]", "limit: unknown key; expected one of approvals, backends, conformance, daemon,"),
        ("connections = 300", "connections = 0", "limits.connections: expected `int` >= 1"),
        (
            "request_deadline_s = 10",
            "request_deadline_s = nan",
            "limits.request_deadline_s: expected `float` > 0.0",
        ),
        (
            "request_deadline_s = 10",
            "request_deadline_s = 1e9",
            "limits.request_deadline_s: expected `float` <= 3600.0",
        ),
        ("request_deadline_s = 10", "deadline = 10", "limits.deadline: unknown key"),
        (
            'version = "0.1.0"',
            "version = 1",
            "plugins.release-allowlist.version: expected `str | null`, got `int`",
        ),
        ('record = "aa', 'record = "zz', "plugins.release-allowlist.record: expected a text of the form"),
        (
            "uids = [1000]\n",
            "uids = 2026-01-01\n",
            "plugins.auth-peercred.uids: expected a text in quotes, got a TOML date or time",
        ),
        ("[plugins.auth-peercred]", "[plugins.Auth]", "plugins.Auth: expected a text of the form"),
        (
            '[plugins.auth-peercred]\ncertificate = "none"',
            "[plugins.auth-peercred]",
            'plugins.auth-peercred.certificate: missing; expected "none" or the path of a conformance certificate ',
        ),
        (
            '[plugins.auth-peercred]\ncertificate = "none"',
            '[plugins.auth-peercred]\ncertificate = "relative"',
            'plugins.auth-peercred.certificate: expected "none" or the path of a conformance certificate ',
        ),
        (
            '[backends.hsm]\ncertificate = "none"',
            "[backends.hsm]",
            'backends.hsm.certificate: missing; expected "none" or the path of a conformance certificate ',
        ),
        ('scheme = "file"', "", "backends.soft.scheme: missing; expected a text of the form"),
        ('kind = "hsm"', 'kind = "tpm"', "backends.hsm.kind: expected one of software, hsm, network"),
        ('kind = "hsm"', 'keys = "x"', "backends.hsm.keys: unknown key"),
        (
            "settings = { directory",
            "settings = 5\nx = { directory",
            "backends.soft.settings: expected a table",
        ),
        ('keys = ["file:two"]', "keys = []", "tenants.other.keys: expected `array` of length >= 1"),
        ('keys = ["file:two"]', 'keys = ["two"]', "tenants.other.keys: at [0]: expected"),
        (
            'generate = "ES256"',
            'generate = "MD5"',
            'keys."file:one".generate: expected one of ES256, ES384, ES512, Ed25519',
        ),
        ('[keys."file:two"]', "[keys.two]", "keys.two: expected a text of the form"),
        ('state = "/var/lib/signerd"', "state = true", "daemon.state: expected `str`, got `bool`"),
        ("[daemon]", "[[daemon]]", "daemon: expected a table"),
        ("[daemon]", "[daemon", "(syntax): expected TOML:"),
    ],
)
def test_what_one_section_may_not_hold(old, new, problem):
    found = changed(old, new)
    assert any(line.startswith("f.toml: " + problem) for line in found), found


def test_all_problems_are_told_at_once():
    text = (
        GOOD.replace("0o660", "1").replace("connections = 300", "connexions = 3").replace('"ES256"', '"none"')
    )
    assert [line.split(": ")[1] for line in problems(text)] == [
        "sockets.sign.mode",
        "limits.connexions",
        'keys."file:one".generate',
    ]
    text = GOOD.replace('state = "/var', 'state = "var').replace('backend = "soft"', 'backend = "none"')
    assert [line.split(": ")[1] for line in problems(text)] == [
        "daemon.state",
        'keys."file:one".backend',
        'keys."file:two".backend',
    ]


def test_an_empty_file_lists_what_is_needed(tmp_path):
    found = problems("", state=tmp_path, socket=tmp_path / "s")
    assert [line.split(": ")[1] for line in found] == ["plugins", "backends", "tenants", "keys"]


def test_the_commands_paths_come_before_the_files_and_the_files_before_the_environments():
    without = GOOD.replace('state = "/var/lib/signerd"', "").replace('path = "/run/signerd/sign.sock"', "")
    env = {"STATE_DIRECTORY": "/from/env", "XDG_RUNTIME_DIR": "/run/user/7"}
    chosen = parse(GOOD, "f", state=Path("/opt/s"), socket=Path("/opt/x"), env=env)
    assert (chosen.daemon.state, chosen.sockets.sign.path) == ("/opt/s", "/opt/x")
    assert parse(GOOD, "f", env=env).daemon.state == "/var/lib/signerd"
    found = parse(without, "f", env=env)
    assert (found.daemon.state, found.sockets.sign.path) == ("/from/env", "")
    assert settle_socket(found, env).sockets.sign.path == "/run/user/7/signerd/sign.sock"
    assert settle_socket(chosen, env) is chosen


def test_a_config_error_is_a_refusal_of_exit_code_2():
    with pytest.raises(Refusal) as caught:
        parse("x = 1", "f.toml")
    assert exit_code(caught.value.code) == 2
    assert "f.toml" not in caught.value.public


def test_files_that_are_read(tmp_path):
    file = tmp_path / "signerd.toml"
    file.write_text(GOOD)
    file.chmod(0o640)
    assert load(file).source == str(file)


@pytest.mark.parametrize(
    ("make", "expectation"),
    [
        (lambda file: None, "expected a readable file: No such file"),
        (lambda file: file.mkdir(), "expected a regular file"),
        (os.mkfifo, "expected a regular file"),
        (
            lambda file: (file.write_text(GOOD), file.chmod(0o646)),
            "expected one that not everybody may write, got 0646",
        ),
        (lambda file: (file.write_bytes(b"# \xff"), file.chmod(0o600)), "expected UTF-8"),
        (
            lambda file: (file.write_bytes(b"#" * 1048577), file.chmod(0o600)),
            "expected at most 1048576 bytes",
        ),
    ],
)
def test_files_that_are_not(tmp_path, make, expectation):
    file = tmp_path / "signerd.toml"
    make(file)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert caught.value.problems[0].startswith(f"{file}: (file): {expectation}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_another_users_file_is_refused(tmp_path):
    file = tmp_path / "signerd.toml"
    file.write_text(GOOD)
    os.chown(file, 12345, 12345)
    with pytest.raises(ConfigError, match="got uid 12345"):
        load(file)


def test_deep_toml_is_a_problem_and_no_crash():
    assert problems("a = " + "[" * 100_000)[0].startswith("f.toml: (syntax): ")


def test_embedded_defaults():
    config = embedded(Path("/s"), Path("/r/sign.sock"), ["sha256:" + "a" * 64])
    assert config.source == ""
    assert config.limits == Limits()
    assert [plugin.name for plugin in config.plugins] == [
        "auth-peercred", "entitlement-file", "release-allowlist", "predicates-intoto", "predicates-stella",
    ]  # fmt: skip
    assert config.plugins[2].settings == {"releases": [{"digest": "sha256:" + "a" * 64}]}
    assert (config.backends[0].scheme, config.backends[0].settings) == ("file", {"directory": "/s/keys"})
    assert (config.tenants[0].name, config.tenants[0].default_key) == ("local", "file:default")
    assert (config.keys[0].key, config.keys[0].generate) == ("file:default", "ES256")
    assert (config.sockets.sign.mode, config.daemon.development) == (0o600, False)
    assert decode(encode(config)) == config


@pytest.mark.parametrize(
    ("state", "release", "expectation"),
    [
        ("s", "sha256:" + "a" * 64, r"embedded defaults: daemon\.state: expected an absolute path"),
        ("/s\udcff", "sha256:" + "a" * 64, r"embedded defaults: daemon\.state: expected a path in UTF-8"),
        (
            "/s",
            "latest\udcff",
            r"embedded defaults: releases: expected sha256: and 64 hex digits, got .latest",
        ),
    ],
)
def test_embedded_paths_and_digests_are_checked_like_those_of_a_file(state, release, expectation):
    with pytest.raises(ConfigError, match=expectation):
        embedded(Path(state), Path("/r/sign.sock"), [release])


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"STATE_DIRECTORY": "/a:/b", "XDG_STATE_HOME": "/x"}, "/a"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/signerd"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/signerd"),
        ({"HOME": "/h"}, "/h/.local/state/signerd"),
        ({}, pwd.getpwuid(os.geteuid()).pw_dir + "/.local/state/signerd"),
    ],
)
def test_where_state_lies(env, expected):
    assert str(default_state(env)) == expected


def test_where_the_socket_lies(monkeypatch, tmp_path):
    assert str(default_socket({"XDG_RUNTIME_DIR": "/run/user/7"})) == "/run/user/7/signerd/sign.sock"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fresh = default_socket({})
    assert fresh.parent.stat().st_mode & 0o7777 == 0o700
    assert default_socket({}).parent != fresh.parent


def test_the_fresh_directory_goes_with_the_process():
    code = "import sys; from signerd.host.config import default_socket as d; p = d({}).parent; print(p); sys.exit(3)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert os.path.isabs(done.stdout.strip())
    assert not os.path.exists(done.stdout.strip())


def test_the_user_that_the_configuration_names():
    own = pwd.getpwuid(os.geteuid()).pw_name
    text = GOOD.replace("[daemon]", '[daemon]\nuser = "%s"')
    check_user(parse(GOOD, "f"))
    check_user(parse(text % own, "f"))
    with pytest.raises(ConfigError, match=r"daemon\.user: expected a user of this host"):
        check_user(parse(text % "no-such-user", "f"))
    other = next(each.pw_name for each in pwd.getpwall() if each.pw_uid != os.geteuid())
    with pytest.raises(ConfigError, match=r"daemon\.user: expected to run as uid"):
        check_user(parse(text % other, "f"))


APPROVALS = """
[approvals]
operations = { "keys.revoke" = 1 }
life_s = 3600
[[approvals.approvers]]
name = "alice"
key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA8/e5f6Qe9P9c6oXw21p9yH4xg4dFtZrXMgmfFD2kEj"
uid = 1001
"""


def test_approvals_are_read_and_handed_on():
    config = parse(GOOD + APPROVALS, "f.toml")
    assert (config.approvals.operations, config.approvals.life_s) == ({"keys.revoke": 1}, 3600)
    assert [(each.name, each.uid) for each in config.approvals.approvers] == [("alice", 1001)]
    assert decode(encode(config)) == config
    assert parse(GOOD, "f.toml").approvals.operations == {}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("keys.revoke", "keys.suspend", "approvals.operations: expected keys that are one of admin."),
        ('"keys.revoke" = 1', '"keys.revoke" = 0', "approvals.operations: at [...]: expected `int` >= 1"),
        ("life_s = 3600", "life_s = 59", "approvals.life_s: expected `int` >= 60"),
        ("life_s = 3600", "lives = 9", "approvals.lives: unknown key; expected one of approvers, life_s, operations"),
        ("uid = 1001", "uid = -1", "approvals.approvers[0].uid: expected `int` >= 0"),
        ("uid = 1001", "gid = 1", "approvals.approvers[0].gid: unknown key"),
        ('name = "alice"', "", "approvals.approvers[0].name: missing"),
        ("[[approvals.approvers]]", "[approvals.approvers]", "approvals.approvers: expected an array of tables"),
        ("[approvals]", "approvals = 1\n[x]", "approvals: expected a table"),
    ],
)
def test_approvals_that_cannot_be_read_are_all_told(old, new, problem):
    text = "approvals = 1\n" + GOOD if new.startswith("approvals =") else GOOD + APPROVALS.replace(old, new, 1)
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.toml")
    assert any(line.startswith(f"f.toml: {problem}") for line in caught.value.problems), caught.value.problems


def administered(text, **paths):
    return parse(GOOD.replace("[limits]", f"[sockets.admin]\n{text}\n[limits]", 1), "f", **paths)


def test_the_admin_socket_is_off_unless_it_is_named():
    assert parse(GOOD, "f").sockets.admin is None
    found = administered("")
    assert (found.sockets.admin.uids, found.sockets.admin.mode) == ((os.geteuid(),), 0o600)
    settled = settle_socket(found, {"XDG_RUNTIME_DIR": "/run/user/7"})
    beside = Path(settled.sockets.sign.path).parent
    assert settled.sockets.admin.path == str(beside / "admin.sock")
    assert settle_socket(settled, {}) is settled


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mode = 0o666", "sockets.admin.mode: unknown key; expected one of group, path, uids"),
        ("uids = [1, 2]", "sockets.admin.group: missing; expected the group by which a second uid opens the socket"),
        ("uids = [1, 1]\ngroup = 'root'", "sockets.admin.uids: expected each uid once"),
        ("group = 'root'", "sockets.admin.group: expected with a second uid in sockets.admin.uids only"),
        ("uids = [1, 2]\ngroup = 'no such'", "sockets.admin.group: expected a group of this host, got \"no such\""),
        ("path = 'here'", "sockets.admin.path: expected an absolute path, got here"),
        (f"path = '/{'a' * 107}'", "sockets.admin.path: expected at most 107 bytes: no Unix socket can have more"),
    ],
)
def test_what_the_admin_socket_may_not_have(text, problem):
    with pytest.raises(ConfigError) as caught:
        administered(text)
    assert f"f: {problem}" in caught.value.problems


def test_the_two_sockets_have_two_paths():
    path = parse(GOOD, "f").sockets.sign.path
    with pytest.raises(ConfigError, match="expected another path"):
        administered(f"path = '{path}'")


def test_a_second_admin_comes_by_a_group():
    assert administered("uids = [1, 2]\ngroup = 'root'").sockets.admin.mode == 0o660
