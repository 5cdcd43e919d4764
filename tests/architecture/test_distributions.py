"""What is installed is what stands here: wheels with all their data, entry points that load, one version."""

import importlib
import tomllib
from importlib.metadata import PackagePath, distribution, entry_points

import pytest

from architecture.layout import DISTRIBUTIONS, Distribution
from outside.parts import ROOT

GROUPS = {
    "signerd.plugins.v1": {
        "auth-peercred": "signerd_auth_peercred.plugin",
        "entitlement-file": "signerd_entitlement_file.plugin",
        "predicates-intoto": "signerd_predicates_intoto.plugin",
        "predicates-stella": "signerd_predicates_stella.plugin",
        "release-allowlist": "signerd_release_allowlist.plugin",
    },
    "signerd.key_backends.v1": {
        "cryptopro": "signerd_key_cryptopro.backend",
        "fido2": "signerd_key_fido2.backend",
        "file": "signerd_key_file.backend",
        "fulcio": "signerd_key_fulcio.backend",
        "gost": "signerd_key_gost.backend",
        "hmac": "signerd_key_hmac.backend",
        "pkcs11": "signerd_key_pkcs11.backend",
    },
    "signerd.publishers.v1": {"log-rekor": "signerd_log_rekor.plugin", "stamp-rfc3161": "signerd_stamp_rfc3161.plugin"},
}
COMMANDS = {
    "signerctl": "signerd_client.cli:main",
    "signerd": "signerd.cli.main:main",
    "signerd-conformance": "signerd_conformance.cli:main",
    "signerd-conformance-client": "signerd_conformance.client:main",
}
STANDS_ON = {"signerd-key-cryptopro": ("signerd-key-pkcs11",)}
"""The one plugin that is made of another: docs/adr/0018."""

each = pytest.mark.parametrize("here", DISTRIBUTIONS, ids=lambda d: d.name)


@each
def test_every_file_of_the_package_is_in_the_wheel(here: Distribution) -> None:
    recorded = {str(path) for path in distribution(here.name).files or [] if isinstance(path, PackagePath)}
    sources = {
        str(path.relative_to(here.package.parent))
        for path in here.package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sources
    assert not sources - recorded


@each
def test_it_is_typed_and_installed_from_a_wheel_not_from_its_folder(here: Distribution) -> None:
    assert (here.package / "py.typed").exists()
    assert '"editable"' not in (distribution(here.name).read_text("direct_url.json") or "")


@each
def test_metadata_agree_with_each_other(here: Distribution) -> None:
    project = tomllib.loads((here.folder / "pyproject.toml").read_text())["project"]
    root = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for field in ("version", "requires-python", "license"):
        assert project[field] == root[field]
    assert distribution(here.name).version == root["version"]
    own = {line for line in project["dependencies"] if line.startswith("signerd")}
    reaches = any("signerd.network" in path.read_text() for path in here.package.rglob("*.py"))
    signerd = f"signerd{'[network]' if reaches else ''}"
    known = set() if here.folder == ROOT else {signerd, *STANDS_ON.get(here.name, ())}
    assert own == {f"{name} =={root['version']}" for name in known}


@pytest.mark.parametrize("group", GROUPS)
def test_entry_points_are_these_and_importable(group: str) -> None:
    found = {point.name: point.value for point in entry_points(group=group)}
    assert found == GROUPS[group]
    for module in found.values():
        importlib.import_module(module)


def test_commands_are_these_and_callable() -> None:
    found = {point.name: point for point in entry_points(group="console_scripts") if point.name in COMMANDS}
    assert {name: point.value for name, point in found.items()} == COMMANDS
    assert all(callable(point.load()) for point in found.values())
