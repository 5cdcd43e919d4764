"""The direction of imports: the contracts of pyproject.toml hold, and they forget no package.

import-linter sees no import by name at run time; tests/integration looks at `sys.modules` of the live
processes for that.
"""

import ast
import subprocess
import sys
from pathlib import Path

from architecture.layout import DISTRIBUTIONS, configuration, modules, parsed, where
from outside.parts import ROOT

LINTER = configuration()["importlinter"]
CONTRACTS = {contract["id"]: contract for contract in LINTER["contracts"]}
PLUGINS = {d.package.name for d in DISTRIBUTIONS if d.folder.parent.name == "plugins"}
# What each kind of distribution may see of signerd.
MAY_SEE = {
    "plugins": {"attestation", "contracts", "errors", "network", "secret_files", "verification"},
    "client": {"attestation", "errors", "verification", "wire"},
    "conformance": {"attestation", "contracts", "errors", "host", "secret_files", "verification", "wire"},
}


def test_the_contracts_hold() -> None:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(CONTRACTS)} kept, 0 broken" in done.stdout


def test_the_contracts_cover_every_distribution() -> None:
    names = {distribution.package.name for distribution in DISTRIBUTIONS}
    assert set(LINTER["root_packages"]) == names
    assert set(CONTRACTS["plugins"]["source_modules"]) == PLUGINS
    assert set(CONTRACTS["plugins-apart"]["modules"]) == PLUGINS
    assert set(CONTRACTS["no-plugin-by-import"]["forbidden_modules"]) == names - {"signerd"}


def test_what_a_distribution_may_not_see_is_all_but_what_it_may() -> None:
    package = ROOT / "signerd"
    parts = {
        path.stem for path in package.iterdir() if (path / "__init__.py").exists() or path.suffix == ".py"
    } - {"__init__"}
    for contract, allowed in MAY_SEE.items():
        forbidden = {
            m.removeprefix("signerd.")
            for m in CONTRACTS[contract]["forbidden_modules"]
            if m.startswith("signerd.")
        }
        assert forbidden == parts - allowed, contract


def names_of(path: Path) -> set[tuple[str, int]]:
    """Every name and attribute that a module speaks of, imports included."""
    found = set()
    for node in ast.walk(parsed(path)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                found.add((name, node.lineno))
    return found


def test_signerd_itself_names_no_private_key() -> None:
    """Key backends handle keys, in their own process; even the sealer only ever holds public halves. Of the kit, one
    module signs certificates for whoever runs it."""
    spoken = [
        f"{where(path, line)}: {name}"
        for distribution, path in modules()
        if distribution.name in ("signerd", "signerd-client", "signerd-conformance")
        and path.name != "certifier.py"
        for name, line in names_of(path)
        if "PrivateKey" in name or "private_key" in name
    ]
    assert not spoken, "\n".join(spoken)
