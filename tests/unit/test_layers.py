"""Imports point one way: the folders of the package form layers, in the order that CONTRIBUTING gives."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/ptqbench"
MODULES = {
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts): file for file in sorted(PACKAGE.rglob("*.py"))
}


def imports(file: Path) -> set[str]:
    """The package's modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & set(MODULES)


GRAPH = {name: imports(file) for name, file in MODULES.items()}


def layers() -> list[str]:
    """The folders of CONTRIBUTING's layout, from the lowest to the highest."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = text.partition("\nsrc/ptqbench/\n")[2].partition("\nsrc/")[0]
    return re.findall(r"^  ([a-z/]+)/ ", block, re.MULTILINE)


def room(module: str, named: list[str]) -> str:
    """The innermost named folder that a module is in; a module of no folder is a room of its own."""
    path = MODULES[module].relative_to(PACKAGE).as_posix()
    return max((folder for folder in named if path.startswith(f"{folder}/")), key=len, default=path)


def test_every_folder_has_its_place_in_the_order() -> None:
    folders = {file.relative_to(PACKAGE).parts[0] for file in MODULES.values() if file.parent != PACKAGE}
    assert {layer.partition("/")[0] for layer in layers()} == folders


def test_no_folder_imports_one_above_it() -> None:
    order = layers()
    edges = {(one, room(one, order), other, room(other, order)) for one, reached in GRAPH.items() for other in reached}
    upward = [
        f"{one} imports {other}"
        for one, here, other, there in edges
        if here in order and there in order and order.index(there) > order.index(here)
    ]
    assert not upward


def test_rooms_form_no_circle() -> None:
    order = layers()
    rooms: dict[str, set[str]] = {}
    for one, reached in GRAPH.items():
        rooms.setdefault(room(one, order), set()).update(room(other, order) for other in reached)
    TopologicalSorter({name: others - {name} for name, others in rooms.items()}).prepare()  # raises on a circle
