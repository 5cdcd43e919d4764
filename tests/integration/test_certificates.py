"""Conformance certificates from end to end: the kit certifies the real plugins, a daemon holds it against them."""

import base64
import csv
import hashlib
import importlib.metadata
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from outside.parts import ROOT
from running.callers import request
from running.configured import configuration
from running.daemon import Running, running
from signerd.verification.bundle import verify_bundle
from signerd.verification.keys import PublicKey
from signerd_client import Signer

BIN = Path(sys.executable).parent
PRIVATE = Ed25519PrivateKey.generate()
KEY = PublicKey.from_spki(PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


@dataclass(frozen=True, slots=True)
class Certified:
    """What the kit has made: certificates of the key-file backend and of auth-peercred, and the certifier's key."""

    backend: Path
    policy: Path
    certifier: Path

    def configured(self, base: Path) -> str:
        """The embedded defaults, both plugins with their certificates."""
        text = f'[conformance]\ncertifiers = ["{self.certifier}"]\n' + configuration(base, {})
        for table, file in (("[backends.file]", self.backend), ("[plugins.auth-peercred]", self.policy)):
            assert f'{table}\ncertificate = "none"' in text
            text = text.replace(f'{table}\ncertificate = "none"', f'{table}\ncertificate = "{file}"')
        return text


def kit(*arguments: str | Path) -> None:
    command: list[str | Path] = [BIN / "signerd-conformance", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"certified by {KEY.keyid}" in done.stderr


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    folder = tmp_path_factory.mktemp("certified")
    (folder / "key").touch(mode=0o600)
    (folder / "key").write_bytes(PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    made = Certified(folder / "backend.json", folder / "policy.json", folder / "certifier.pub")
    made.certifier.write_text(KEY.pem)
    made.certifier.chmod(0o644)
    settings = {"scheme": "file", "name": "file", "settings": {"directory": str(folder / "keys")}}
    (folder / "settings.json").write_text(json.dumps(settings))
    sign = ("--sign", folder / "key", "--certificate")
    kit(
        "backend", "--key", "file:judged", "--generate", "Ed25519", "--settings", folder / "settings.json",
        *sign, made.backend, "--distribution", "signerd-key-file",
        "--", sys.executable, "-P", "-m", "signerd.worker.key",
    )  # fmt: skip
    tests = ROOT / "plugins" / "signerd-auth-peercred" / "tests" / "test_contract.py"
    kit(
        "contract", "auth-peercred", *sign, made.policy, "--distribution", "signerd-auth-peercred",
        "--", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir", folder, tests,
    )  # fmt: skip
    return made


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A second installation of the key-file backend, which goes before the first."""
    folder = tmp_path / "site"
    folder.mkdir(mode=0o755)
    dist = importlib.metadata.distribution("signerd-key-file")
    info = f"signerd_key_file-{dist.version}.dist-info"
    for name in ("signerd_key_file", info):
        shutil.copytree(str(dist.locate_file(name)), folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def altered(site: Path, name: str) -> None:
    """Add a line to a file, and give RECORD its new digest: an installation that is sound, and another one."""
    file = site / name
    file.write_bytes(file.read_bytes() + b"# another line\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(file.read_bytes()).digest()).rstrip(b"=").decode()
    (record,) = site.glob("*.dist-info/RECORD")
    with record.open(newline="") as lines:
        rows = [[row[0], f"sha256={digest}", ""] if row[0] == name else row for row in csv.reader(lines)]
    with record.open("w", newline="") as lines:
        csv.writer(lines, lineterminator="\n").writerows(rows)


def refused(base: Path, config: str, environment: dict[str, str] | None = None) -> str:
    """What a daemon says that does not start; its exit code is 2."""
    daemon = Running(base, config=config, environment=environment)
    try:
        assert daemon._process.wait(20) == 2, daemon.said
        daemon._reader.join(10)
        return daemon.said
    finally:
        daemon.close()


def test_a_daemon_with_certified_plugins_signs_and_says_who_certified(certified: Certified, tmp_path: Path) -> None:
    with running(tmp_path, config=certified.configured(tmp_path)) as daemon, Signer.connect(daemon.socket) as signer:
        signed = signer.sign_dsse(request(1))
        key = PublicKey.from_pem(signer.describe("file:default").public_key_pem)
        assert verify_bundle(signed.bundles[0], key, artifact_sha256=f"{1:064x}").verified
        told = {plugin.name: plugin.certificate for plugin in signer.info().plugins}
        assert str(told["signerd-auth-peercred"]).startswith(f"{KEY.keyid} 20")
        assert str(told["signerd-release-allowlist"]) == "UNSET"
        start = json.loads(bytes(daemon.leaves()[0]["leaf"]))  # type: ignore[call-overload]  # a blob
    facts = {plugin["name"]: plugin for plugin in start["plugins"]}
    for name, file in (("signerd-key-file", certified.backend), ("signerd-auth-peercred", certified.policy)):
        assert facts[name]["certificate"] == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert "certificate" not in facts["signerd-release-allowlist"]


def test_the_list_of_plugins_names_certifier_kit_and_day_or_the_problem(certified: Certified, tmp_path: Path) -> None:
    file = tmp_path / "signerd.toml"
    file.write_text(certified.configured(tmp_path).replace(str(certified.policy), str(certified.backend)))
    file.chmod(0o600)
    command: list[str | Path] = [BIN / "signerd", "plugins", "--config", file, "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    certifier, software, day = rows["file"]["certificate"].split()
    assert (certifier, software) == (KEY.keyid, "signerd-conformance/0.1.0")
    assert len(day) == len("2026-11-03")
    assert "it certifies the distribution 'signerd-key-file'" in rows["auth-peercred"]["problem"]
    assert rows["predicates-intoto"]["certificate"] == "none"


@pytest.mark.parametrize("name", ["signerd_key_file/backend.py", "signerd_key_file/settings.py"])
def test_a_backend_that_was_altered_after_it_was_certified_does_not_start(
    name: str, certified: Certified, site: Path, tmp_path: Path
) -> None:
    environment = {"PYTHONPATH": str(site)}
    with running(tmp_path, config=certified.configured(tmp_path), environment=environment) as daemon:
        assert daemon.child("key")  # a copy of what was certified is what was certified
    altered(site, name)
    said = refused(tmp_path, certified.configured(tmp_path), environment)
    assert f"files are not those that were certified: {name}" in said
    assert "backends.file" in said
    command: list[str | Path] = [BIN / "signerd", "check", "--config", tmp_path / "signerd.toml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert done.returncode == 2
    assert f"backends.file: plugin file: {certified.backend}: files are not those that were certified" in done.stderr


def test_a_certificate_of_somebody_else_stops_the_front_end(certified: Certified, tmp_path: Path) -> None:
    other = tmp_path / "other.pub"
    public = Ed25519PrivateKey.generate().public_key()
    other.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    other.chmod(0o644)
    text = certified.configured(tmp_path).replace(str(certified.certifier), str(other))
    said = refused(tmp_path, text)
    assert "plugin auth-peercred: " in said
    assert "it is signed by no key of [conformance] certifiers" in said
