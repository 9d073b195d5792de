"""What the files of a stage's folder declare, read without importing them (or torch).

A transform, range, rounding, statistic, format or adapter is one file; the file's name is its name in the config.
Its literals (``STRATEGY``, ``DEFAULTS``, ``PARAMETERS``, ``NEEDS``, ``MODEL_TYPES``, …) are its declaration.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path
from typing import Any

from ptqbench.errors import UserError, did_you_mean, shown

PACKAGE = Path(__file__).parent
ROOM = "methods"  # where the folders of a recipe's stages are; all others are the package's own
OF_RECIPES = ("transforms", "ranges", "rounding")


@lru_cache
def members(folder: str) -> dict[str, dict[str, Any]]:
    """Name to declared literals for every file of a folder."""
    files = sorted((PACKAGE / folder_of(folder)).glob("*.py"))
    return {file.stem: _literals(file) for file in files if file.stem != "__init__"}


def module(folder: str, name: str) -> str:
    """The module of a member."""
    return f"ptqbench.{folder_of(folder).replace('/', '.')}.{name}"


def declared(folder: str, name: str, where: str) -> dict[str, Any]:
    """The literals of one member; an unknown name is the user's error at config key ``where``."""
    known = members(folder)
    if name not in known:
        raise UserError(f"{where}: there is no {shown(name)} in {folder}{did_you_mean(name, known)}")
    return known[name]


def folder_of(folder: str) -> str:
    """Where a folder's files are, from the package's own on."""
    return f"{ROOM}/{folder}" if folder in OF_RECIPES else folder


def _literals(file: Path) -> dict[str, Any]:
    found = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        target, value = _assignment(node)
        if target and target.isupper():
            try:
                found[target] = ast.literal_eval(value)
            except ValueError:  # a computed constant is not a declaration
                continue
    return found


def _assignment(node: ast.stmt) -> tuple[str | None, Any]:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id, node.value
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id, node.value
    return None, None
