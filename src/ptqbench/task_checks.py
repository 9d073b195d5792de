"""Checks of a suite's tasks against their files, before any work; lm-eval itself is not imported, it brings torch.

Each ``check_…`` raises :class:`UserError` for what is not so as its docstring says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from ptqbench.errors import UserError, did_you_mean

MOST_FILES = 20_000  # a folder with more is none of tasks
BUILDERS = ("json", "csv", "parquet", "text", "arrow")  # of `datasets`, for files
Task = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """YAML as lm-eval reads it, functions left out."""


def _named(loader: _Loader, node: yaml.ScalarNode) -> _Code:
    return _Code(loader.construct_scalar(node))


_Loader.add_constructor("!function", _named)


class _Code(str):
    """The name of a function that a task calls."""


def check_tasks(name: str, suite: dict[str, Any], root: Path) -> None:
    """Every task of a suite is known, its local data are there, and code beside it is trusted."""
    where, folder = f"config: suites.{name}", root / suite["path"] if "path" in suite else None
    known = _read(folder, f"{where}.path") if folder else {}
    asked = set(suite["tasks"])
    absent = asked - set(known)
    for task in sorted(absent - _of_lm_eval(absent)):
        hint = did_you_mean(task, known) if known else ""
        remedy = hint if "did you mean" in hint else ": lm-eval has no such task; put its YAML into the suite's path"
        raise UserError(f"{where}.tasks names '{task[:80]}'{remedy}")
    for file, task in _reached(known, asked):
        if (code := _code(task)) and not suite.get("trust_task_code"):
            raise UserError(
                f"{where}.path has code: {file} calls '{code[:60]}' of a file beside it. Read it, then set "
                f"suites.{name}.trust_task_code to true"
            )
        for data in _data(task):
            if not any(root.glob(data)) if not os.path.isabs(data) else not Path(data).exists():
                raise UserError(f"{where}: {file} reads '{data[:120]}', and there is no such file: correct data_files")


def _read(folder: Path, where: str) -> dict[str, list[tuple[Path, Task]]]:
    """Tasks, groups and tags by name, with the files that describe them."""
    found: dict[str, list[tuple[Path, Task]]] = {}
    for count, file in enumerate(folder.rglob("*")):
        if count > MOST_FILES:
            raise UserError(f"{where} is '{folder}', which has more than {MOST_FILES} files: name a folder of tasks")
        if file.suffix == ".yaml" and file.is_file():
            task = _load(file, where, ())
            own = [task[key] for key in ("task", "group") if isinstance(task.get(key), str)]
            tags = task.get("tag") or []
            for name in [*own, *([tags] if isinstance(tags, str) else tags)]:
                found.setdefault(str(name), []).append((file, task))
    return found


def _load(file: Path, where: str, above: tuple[Path, ...]) -> Task:
    """A task file with what it includes."""
    try:
        task = yaml.load(file.read_bytes(), _Loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        line = " ".join(str(error).split())[:120]
        raise UserError(f"{where}: {file} cannot be read ({line}): correct the file") from None
    if not isinstance(task, dict) or file in above:
        raise UserError(f"{where}: {file} is no task: write a mapping, and no includes in a circle")
    includes = task.pop("include", None) or []
    for other in [includes] if isinstance(includes, str) else includes:
        task = {**_load(file.parent / str(other), where, (*above, file)), **task}
    return task


def _reached(known: dict[str, list[tuple[Path, Task]]], asked: set[str]) -> Iterator[tuple[Path, Task]]:
    """The described tasks among ``asked``, and those of their groups."""
    waiting, seen = sorted(asked), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for file, task in known.get(name, []):
            yield file, task
            members = task["task"] if isinstance(task.get("task"), list) else []
            waiting += [str(member["task"] if isinstance(member, dict) else member) for member in members]


def _code(value: Any) -> str | None:
    """The first function that a description names, at any depth."""
    if isinstance(value, _Code):
        return str(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((code for one in inner if (code := _code(one))), None)


def _data(task: Task) -> Iterator[str]:
    """The local files that a task reads."""
    settings = task.get("dataset_kwargs")
    if task.get("dataset_path") not in BUILDERS or not isinstance(settings, dict):
        return
    files = settings.get("data_files") or []
    for part in files.values() if isinstance(files, dict) else [files]:
        for file in part if isinstance(part, list) else [part]:
            if isinstance(file, str) and "://" not in file:
                yield file


def _of_lm_eval(names: set[str]) -> set[str]:
    """Those that lm-eval's own task files name. Words are looked for: no name that it has is missed."""
    package = find_spec("lm_eval") if names else None
    if package is None or not package.submodule_search_locations:
        return set(names)  # the environment of the jobs may be another
    words = re.compile(
        rb"(?<![\w-])(?:" + b"|".join(re.escape(name.encode()) for name in sorted(names)) + rb")(?![\w-])"
    )
    found: set[str] = set()
    for file in Path(package.submodule_search_locations[0], "tasks").rglob("*.yaml"):
        found |= {word.decode() for word in words.findall(file.read_bytes())}
        if found == names:
            break
    return found
