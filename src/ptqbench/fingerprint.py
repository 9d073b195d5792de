"""A digest of the code that a stage can reach, blind to comments, docstrings and layout."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

SOURCE = Path(__file__).parent.parent


def fingerprint(roots: Iterable[str]) -> dict[str, str]:
    """File to 12 hex digits for every ``ptqbench`` module that ``roots`` import, directly or not.

    Imports for type checkers alone do not count: nothing runs them.
    Modules chosen by a name in the config are invisible to the import graph: name them among the roots.
    """
    seen: set[str] = set()
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        waiting += _imports(module)
    files = {_file(module) for module in seen}
    return {file.relative_to(SOURCE).as_posix(): _digest(file) for file in sorted(files)}


def _file(module: str) -> Path:
    path = SOURCE.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.is_file():
        raise FileNotFoundError(f"module {module} has no file {file}")
    return file


def _is_module(name: str) -> bool:
    path = SOURCE.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file()


@lru_cache
def _tree(file: Path) -> ast.Module:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
            first = body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = body[1:] or [ast.Pass()]
    return tree


@lru_cache
def _digest(file: Path) -> str:
    return hashlib.sha256(ast.unparse(_tree(file)).encode()).hexdigest()[:12]


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it, without what stands under ``if TYPE_CHECKING``."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"):
            yield from _running(child)


@lru_cache
def _imports(module: str) -> tuple[str, ...]:
    found = []
    for node in _running(_tree(_file(module))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
    return tuple(name for name in found if name.startswith("ptqbench.") and _is_module(name))
