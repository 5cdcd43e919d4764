"""T2: code of a key backend runs in front end or sealer by being imported.

The backend played here writes down the pid of whoever imports it, at the first line that runs.
"""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.distributions import install
from fakes.links import Peer
from signerd.contracts.hookspecs import KEY_BACKENDS_GROUP
from signerd.host.load import LoadError, PluginEntry, load_policy_plugins, worker_entry

SCHEME = "nosy"
PACKAGE = "signerd_nosy_backend"
CODE = """
import os
with open({log!r}, "a") as file:
    file.write(f"{{os.getpid()}}\\n")
from signerd.contracts import hookimpl
from signerd.contracts.values import KeyDescription
class Nosy:
    capabilities = ()
    def describe(self, key):
        return KeyDescription("ES256", "sha256:" + "0" * 64, b"spki")
    def sign(self, key, message):
        raise RuntimeError(key)
@hookimpl
def signerd_key_backends(settings):
    return Nosy()
"""


@pytest.fixture
def importers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    site, log = tmp_path / "site", tmp_path / "importers"
    site.mkdir(mode=0o755)
    files = {
        f"{PACKAGE}/__init__.py": CODE.format(log=str(log)),
        f"{PACKAGE}/backend.py": f"from {PACKAGE} import *\n",
    }
    files[f"{PACKAGE}/backend.py"] += f"from {PACKAGE} import signerd_key_backends\n"
    install(site, "signerd-nosy-backend", files, {KEY_BACKENDS_GROUP: {SCHEME: f"{PACKAGE}.backend"}})
    monkeypatch.syspath_prepend(str(site))
    old = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *([old] if old else [])]))
    importlib.invalidate_caches()
    yield log
    assert PACKAGE not in sys.modules


def test_what_the_sealer_needs_to_know_of_a_backend_imports_nothing(importers: Path) -> None:
    entry = worker_entry(KEY_BACKENDS_GROUP, SCHEME)
    assert entry.module == f"{PACKAGE}.backend"
    assert len(entry.record_sha256) == 64
    assert not importers.exists()


def test_the_front_end_cannot_be_made_to_load_one_by_naming_it(importers: Path) -> None:
    with pytest.raises(LoadError):
        load_policy_plugins({SCHEME: PluginEntry()}, development=True)
    assert not importers.exists()


def test_the_key_worker_alone_imports_it(importers: Path) -> None:
    worker = Peer("signerd.worker.key", {"scheme": SCHEME, "name": SCHEME})
    try:
        worker.hello()
        assert worker.ask("describe", {"key": "nosy:x"})["result"]["spki"] == b"spki"
        assert importers.read_text().split() == [str(worker.process.pid)]
    finally:
        worker.close()


def test_an_altered_backend_is_not_even_imported_there(importers: Path) -> None:
    module = next(importers.parent.rglob("backend.py"))
    module.write_text(module.read_text() + "\n# altered\n")
    with pytest.raises(LoadError, match="not the one that RECORD lists"):
        worker_entry(KEY_BACKENDS_GROUP, SCHEME)
    worker = Peer("signerd.worker.key", {"scheme": SCHEME, "name": SCHEME})
    try:
        assert worker.status() == 2
        assert not importers.exists()
    finally:
        worker.close()
