"""`__all__` is what a module promises: all that is public in it, nothing else. Its order is ruff's RUF022."""

import ast
import importlib
from pathlib import Path

import pytest

from architecture.layout import Distribution, modules, parsed, where

MODULES = [
    pytest.param(
        distribution, path, id=".".join(path.relative_to(distribution.package.parent).with_suffix("").parts)
    )
    for distribution, path in modules()
    if path.name != "__main__.py"  # run, never imported
]


def exported(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            names: list[str] = ast.literal_eval(node.value)  # type: ignore[attr-defined, union-attr]
            return names
    return None


@pytest.mark.parametrize(("distribution", "path"), MODULES)
def test_all_names_what_is_public_and_there(distribution: Distribution, path: Path) -> None:
    tree = parsed(path)
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = {
        node.name for node in tree.body if isinstance(node, definitions) and not node.name.startswith("_")
    }
    names = exported(tree)
    if names is None:
        imports = any(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body)
        assert not public, f"{where(path)} has public definitions and no __all__"
        assert path.name != "__init__.py" or not imports, f"{where(path)} hands names on and has no __all__"
        return
    assert len(names) == len(set(names)), f"{where(path)}: a name twice"
    assert not public - set(names), (
        f"{where(path)}: public, but not in __all__: {sorted(public - set(names))}"
    )
    relative = path.relative_to(distribution.package.parent).with_suffix("")
    loaded = importlib.import_module(".".join(relative.parts).removesuffix(".__init__"))
    absent = [name for name in names if not hasattr(loaded, name)]
    assert not absent, f"{where(path)}: in __all__, but not in the module: {absent}"
