"""Files of configuration as they are written, before a loader takes in silence what it should not.

Of a key that stands twice in one mapping loaders keep the last; keys that are no text and aliases that multiply are
noticed late or never. Every error names the file and the line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from ptqbench.errors import UserError, shown

LARGEST = 1 << 20  # bytes of a file
MOST_VALUES = 100_000  # aliases counted as what they stand for
TEXT, MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


def check_place(checkout: Path) -> None:
    """Refuse a checkout whose path Snakemake or Python would read otherwise than as a path."""
    for mark in "{}:\n":
        if mark in str(checkout):
            raise UserError(f"the checkout's folder is {shown(str(checkout))}: move it to a path without {shown(mark)}")


def check_files(own: Path, given: Iterable[Path]) -> None:
    """Check the workflow's ``own`` file and those ``given`` beside it, which may stand for it where it is not there."""
    files = [Path(file) for file in given]
    if not own.exists() and not files:
        raise UserError(
            f"there is no {own} in {Path.cwd()}: run in a folder that has one, or name one with --configfile"
        )
    for file in [own] * own.exists() + files:
        check_file(file)


def check_file(file: Path) -> None:
    """Raise a :class:`UserError` for what is wrong with a file of YAML or JSON."""
    text = _read(file)
    try:
        found = json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, file))
    except RecursionError:
        raise UserError(f"{file} nests values too deep: write it flatter") from None
    except ValueError:
        found = _parsed(text, file)
    if not isinstance(found, dict):
        what = "empty" if found is None else shown(found)
        raise UserError(f"{file} is {what}: write a mapping of sections, such as models and grid")


def _read(file: Path) -> str:
    if not file.is_file():
        raise UserError(f"{file} is no file: give the path of one of YAML or JSON")
    size = file.stat().st_size
    if size > LARGEST:
        raise UserError(f"{file} has {size} bytes, and a configuration at most {LARGEST}: take out what is no setting")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = file.read_bytes()[: error.start].count(b"\n") + 1
        raise UserError(f"{file}, line {line}: {error.reason}, which is no UTF-8: save it as UTF-8") from None


def _unique(pairs: list[tuple[str, Any]], file: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise UserError(f"{file}: the key {shown(key)} stands twice in one mapping: remove one of the two")
        found[key] = value
    return found


def _parsed(text: str, file: Path) -> Any:
    """The file's content, its nodes checked before anything is made of them."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {}, file)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}, line {mark.line + 1}" if mark else str(file)
        raise UserError(f"{where}: no YAML: {error.problem or error.context}: correct it there or above") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise UserError(f"{file}: no YAML: {error}: correct it") from None
    except RecursionError:
        raise UserError(f"{file} nests values too deep: write it flatter") from None


def _count(node: yaml.Node, known: dict[yaml.Node, int], file: Path) -> int:
    """How many values a node stands for, its mappings checked; ``known`` are those counted, 0 while that goes on."""
    if node in known:
        if not known[node]:
            raise UserError(f"{_place(node, file)}: a value holds itself by an alias: write it out")
        return known[node]
    known[node] = 0
    if isinstance(node, yaml.MappingNode):
        _check_keys(node, file)
        parts = [part for pair in node.value for part in pair]
    else:
        parts = node.value if isinstance(node, yaml.SequenceNode) else []
    known[node] = 1 + sum(_count(part, known, file) for part in parts)
    if known[node] > MOST_VALUES:
        raise UserError(f"{_place(node, file)}: aliases make more than {MOST_VALUES} values of it: write fewer")
    return known[node]


def _check_keys(node: yaml.MappingNode, file: Path) -> None:
    places: dict[str, yaml.Node] = {}
    for key, _ in node.value:
        if key.tag not in (TEXT, MERGE):
            said = shown(key.value) if isinstance(key, yaml.ScalarNode) else "of several parts"
            raise UserError(f"{_place(key, file)}: the key {said} is no text: put it in quotes")
        if (first := places.setdefault(key.value, key)) is not key:
            line = first.start_mark.line + 1
            raise UserError(
                f"{_place(key, file)}: the key {shown(key.value)} stands in line {line} already: remove one of the two"
            )


def _place(node: yaml.Node, file: Path) -> str:
    return f"{file}, line {node.start_mark.line + 1}"


def merge(config: dict[str, Any], other: dict[str, Any]) -> None:
    """Lay ``other`` over ``config``, mapping by mapping, as Snakemake does with several files of configuration."""
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            merge(config[key], value)
        else:
            config[key] = value
