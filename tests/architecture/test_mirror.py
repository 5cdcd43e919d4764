"""Tests mirror sources: who reads a module knows where its tests are, and no test outlives its module."""

from architecture.layout import DISTRIBUTIONS, modules, where

OF_THE_WHOLE = "test_contract.py"
"""A plugin as a whole, judged by the contract classes of the conformance kit, as anybody's would be."""


def test_every_module_has_its_test_file() -> None:
    missing = []
    for distribution, path in modules(packages=False):
        mirror = distribution.tests / path.relative_to(distribution.package).with_name(
            f"test_{path.name.lstrip('_')}"
        )
        if not mirror.exists():
            missing.append(f"{where(path)} has no {where(mirror)}")
    assert not missing, "\n".join(missing)


def test_every_test_file_has_its_module() -> None:
    orphans = []
    for distribution in DISTRIBUTIONS:
        for path in sorted(distribution.tests.rglob("test_*.py")):
            name = path.name.removeprefix("test_")
            place = distribution.package / path.relative_to(distribution.tests).parent
            if path.name == OF_THE_WHOLE and distribution.folder.parent.name == "plugins":
                continue
            if not any((place / candidate).exists() for candidate in (name, f"_{name}", f"__{name}")):
                orphans.append(f"{where(path)} has no module {name} in {where(place)}")
    assert not orphans, "\n".join(orphans)


def test_every_plugin_is_judged_by_the_contract_of_its_kind() -> None:
    plugins = [d for d in DISTRIBUTIONS if d.folder.parent.name == "plugins"]
    assert plugins
    missing = [d.name for d in plugins if not (d.tests / OF_THE_WHOLE).exists()]
    assert not missing, ", ".join(missing)
