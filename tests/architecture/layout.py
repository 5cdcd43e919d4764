"""Where the distributions' sources and tests are, for the checks of this folder."""

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environment import distributions
from outside.parts import ROOT

__all__ = ["DISTRIBUTIONS", "Distribution", "configuration", "modules", "parsed", "where"]


@dataclass(frozen=True, slots=True)
class Distribution:
    """A distribution by its three folders."""

    name: str
    folder: Path
    package: Path
    tests: Path


def _distribution(name: str, folder: Path) -> Distribution:
    tests = folder / "tests" / "unit" if folder == ROOT else folder / "tests"
    return Distribution(name, folder, folder / name.replace("-", "_"), tests)


DISTRIBUTIONS = [_distribution(name, folder) for name, folder in distributions().items()]


def modules(*, packages: bool = True) -> Iterator[tuple[Distribution, Path]]:
    """Every source module of every distribution; without `packages` no __init__ and no __main__."""
    for distribution in DISTRIBUTIONS:
        for path in sorted(distribution.package.rglob("*.py")):
            if packages or path.name not in ("__init__.py", "__main__.py"):
                yield distribution, path


def parsed(path: Path) -> ast.Module:
    """The module's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def where(path: Path, line: int = 1) -> str:
    """A place to click on."""
    return f"{path.relative_to(ROOT)}:{line}"


def configuration() -> dict[str, Any]:
    """The tool configuration of the root pyproject.toml."""
    loaded: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    return loaded
