"""What fits into one reading: modules of at most 400 lines, half of them at most 150, functions of 50."""

import ast
from statistics import median

from architecture.layout import modules, parsed, where


def test_modules_have_at_most_400_lines_and_half_of_them_150() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for _, path in modules(packages=False)}
    assert lines
    long = [f"{where(path)}: {count} lines" for path, count in lines.items() if count > 400]
    assert not long, "\n".join(long)
    assert median(lines.values()) <= 150


def test_functions_have_at_most_50_lines_without_their_docstring() -> None:
    long = []
    for _, path in modules():
        for node in ast.walk(parsed(path)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            count = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                text = node.body[0]
                count -= (text.end_lineno or text.lineno) - text.lineno + 1
            if count > 50:
                long.append(f"{where(path, node.lineno)}: {node.name} has {count} lines")
    assert not long, "\n".join(long)
