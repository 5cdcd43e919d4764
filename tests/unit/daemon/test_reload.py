import dataclasses
import os
from pathlib import Path

import pytest

from fakes.services import FakeClock
from signerd.contracts.services import QuotaStore
from signerd.daemon.reload import read_again, store_of, waiting
from signerd.host.config import ConfigError, load
from signerd.host.distribution import LoadError
from signerd.host.load import Provided
from signerd.pipeline.quota import MemoryQuotaStore

FILE = """
[daemon]
state = "{state}"
[sockets.sign]
path = "{state}/sign.sock"
[plugins.auth-peercred]
certificate = "none"
[plugins.entitlement-file]
certificate = "none"
[plugins.release-allowlist]
certificate = "none"
releases = [{{digest = "sha256:{digest}"}}]
[plugins.predicates-intoto]
certificate = "none"
[backends.file]
certificate = "none"
scheme = "file"
[backends.file.settings]
directory = "{state}/keys"
[tenants.local]
keys = ["file:default"]
[keys."file:default"]
backend = "file"
tenant = "local"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "signerd.toml"
    path.write_text(FILE.format(state=tmp_path, digest="ab" * 32))
    path.chmod(0o600)
    return path


def test_the_file_is_read_again_and_its_plugins_introduce_themselves(file: Path) -> None:
    before = load(file, env=os.environ)
    file.write_text(file.read_text().replace("ab" * 32, "cd" * 32))
    after, loaded = read_again(before)
    assert waiting(before, after) == []
    check = loaded.release_checks[0].provider
    assert check.check("sha256:" + "cd" * 32, None).digest == "sha256:" + "cd" * 32  # type: ignore[union-attr,arg-type]


def test_what_belongs_to_running_processes_waits_for_the_next_start(file: Path) -> None:
    before = load(file, env=os.environ)
    text = file.read_text() + "[limits]\nin_flight = 3\n"
    file.write_text(text.replace("/keys", "/other-keys"))
    after, _ = read_again(before)
    assert waiting(before, after) == ["limits", "backends"]


def test_a_file_that_cannot_be_used_is_refused(file: Path) -> None:
    before = load(file, env=os.environ)
    file.write_text("[daemon]\nno_such_key = 1\n")
    with pytest.raises(ConfigError, match="no_such_key"):
        read_again(before)


def test_the_quota_store_is_known_by_its_plugin_and_settings(file: Path) -> None:
    config, loaded = read_again(load(file, env=os.environ))
    assert store_of(config, loaded) is None
    store: QuotaStore = MemoryQuotaStore(FakeClock())
    brought = Provided("release-allowlist", store)
    settings = {"releases": [{"digest": "sha256:" + "ab" * 32}]}
    assert store_of(config, dataclasses.replace(loaded, quota_store=brought)) == ("release-allowlist", settings)


def test_a_certificate_is_held_against_the_certifiers_of_the_start(file: Path, tmp_path: Path) -> None:
    before = load(file, env=os.environ)
    text = file.read_text() + f'[conformance]\ncertifiers = ["{tmp_path}/new.pub"]\n'
    file.write_text(text)
    after, _ = read_again(before)
    assert waiting(before, after) == ["conformance"]
    table = '[plugins.auth-peercred]\ncertificate = "'
    file.write_text(text.replace(f"{table}none", f"{table}{tmp_path}/absent.json"))
    with pytest.raises(LoadError, match=r"auth-peercred: .*absent\.json: it cannot be read"):
        read_again(before)  # not new.pub, which is not there either: the certifiers are those of the start, none
