"""What the files of a stage's folder declare, read without importing them (or torch).

A transform, range, rounding, statistic, format or adapter is one file; the file's name is its name in the config.
Its literals (``STRATEGY``, ``NEEDS``, ``MODEL_TYPES``, …) are its declaration; those of a member of a recipe, and its
parameters, stand in the class that is named after the file (``methods/contracts.py``).
"""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path
from typing import Any

from ptqbench.errors import UserError, did_you_mean, shown

PACKAGE = Path(__file__).parent
ROOM = "methods"  # where the folders of a recipe's stages are; all others are the package's own
FOLDERS = {"transform": "transforms", "range": "ranges", "rounding": "rounding"}  # of a recipe's stages
CALL = "parameter"  # what makes a field of a member a parameter
JSON = {"int": "integer", "float": "number", "bool": "boolean"}


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
    return f"{ROOM}/{folder}" if folder in FOLDERS.values() else folder


def class_name(name: str) -> str:
    """The class of a member of a recipe: ``rotation_hadamard`` is ``RotationHadamard``."""
    return "".join(part.capitalize() for part in name.split("_"))


def _literals(file: Path) -> dict[str, Any]:
    """What a module declares, and the class in it that is named after the file."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    found = _constants(body)
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == class_name(file.stem):
            found |= _constants(node.body) | _parameters(node.body)
    return found


def _constants(body: list[ast.stmt]) -> dict[str, Any]:
    found = {}
    for node in body:
        target, value = _assignment(node)
        if target and target.isupper() and value is not None:
            try:
                found[target] = ast.literal_eval(value)
            except ValueError:  # a computed constant is not a declaration
                continue
    return found


def _parameters(body: list[ast.stmt]) -> dict[str, dict[str, Any]]:
    """The defaults of fields made by ``contracts.parameter``, and the JSON schema of each: its type and limits."""
    defaults: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for node in body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        if isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name) and node.value.func.id == CALL:
            name, limits = node.target.id, {one.arg: ast.literal_eval(one.value) for one in node.value.keywords}
            defaults[name] = ast.literal_eval(node.value.args[0])
            schemas[name] = {**_schema(node.annotation), **limits}
    return {"DEFAULTS": defaults, "PARAMETERS": schemas}


def _schema(annotation: ast.expr) -> dict[str, Any]:
    """``int``, ``float | None``, ``Literal["a", "b"]``."""
    if isinstance(annotation, ast.Name):
        return {"type": JSON[annotation.id]}
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.left, ast.Name):
        return {"type": [JSON[annotation.left.id], "null"]}
    assert isinstance(annotation, ast.Subscript), ast.unparse(annotation)
    return {"enum": list(ast.literal_eval(annotation.slice))}


def _assignment(node: ast.stmt) -> tuple[str | None, ast.expr | None]:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id, node.value
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id, node.value
    return None, None
