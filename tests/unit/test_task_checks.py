"""Tasks that are unknown, have code or lack their data are refused by the plan, which imports no lm-eval."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from clone import REPOSITORY

from ptqbench.errors import UserError
from ptqbench.task_checks import check_tasks

TASK = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "data/rows.jsonl"}}, "doc_to_text": "{{q}}"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of a task, a group and a tag, and the data."""
    (tmp_path / "tasks/sub").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/rows.jsonl").write_text(json.dumps({"q": "a"}))
    write(tmp_path, "one.yaml", {"task": "one", "tag": ["some"], **TASK})
    write(tmp_path, "sub/two.yaml", {"include": "../shared", "task": "two"})
    write(tmp_path, "shared", TASK)
    write(tmp_path, "all.yaml", {"group": "all", "task": ["one", {"task": "two"}]})
    return tmp_path


def write(root: Path, name: str, content: dict[str, Any] | str) -> None:
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    (root / "tasks" / name).write_text(text)


def check(root: Path, *tasks: str, **settings: Any) -> None:
    check_tasks("s", {"kind": "tasks", "path": "tasks", "tasks": list(tasks), **settings}, root)


def refused(root: Path, *tasks: str, **settings: Any) -> str:
    with pytest.raises(UserError) as raised:
        check(root, *tasks, **settings)
    line = str(raised.value)
    assert line.startswith("config: suites.s")
    assert "\n" not in line
    assert len(line) < 400 + len(str(root))
    return line


def test_tasks_groups_and_tags_are_known(root: Path) -> None:
    check(root, "one", "two", "all", "some")
    check(root, "one", path=str(root / "tasks"))
    for folder in ("resources/tasks/blimp", "resources/tasks/zero-shot"):
        files = [yaml.safe_load(file.read_text()) for file in (REPOSITORY / folder).glob("*.yaml")]
        check(REPOSITORY, *[task["task"] for task in files], path=folder)


@pytest.mark.parametrize("name", ["arc_easy", "mmlu", "truthfulqa", "truthfulqa_mc2", "lambada", "ceval-valid", "race"])
def test_lm_evals_own_are_known(root: Path, name: str) -> None:
    check(root, name, "one")


def test_unknown_tasks(root: Path) -> None:
    assert refused(root, "onne").endswith("names 'onne': did you mean 'one'?")
    assert "lm-eval has no such task; put its YAML into the suite's path" in refused(root, "arc_eazy")
    assert "lm-eval has no such task" in refused(root, "one", "x" * 500)


CODE = {
    "of the task": "task: t\nprocess_docs: !function utils.process\n",
    "of a metric": "task: t\nmetric_list:\n  - {metric: !function utils.score, aggregation: mean}\n",
    "a class": "task: t\nclass: !function task.Mine\n",
    "included": "task: t\ninclude: code\n",
    "of a group": "group: t\ntask:\n  - task: inner\n",
}


@pytest.mark.parametrize("kind", CODE)
def test_code_is_trusted_first(root: Path, kind: str) -> None:
    write(root, "t.yaml", CODE[kind])
    write(root, "code", "doc_to_text: !function utils.text\n")
    write(root, "inner.yaml", "task: inner\nprocess_docs: !function utils.process\n")
    assert "Read it, then set suites.s.trust_task_code to true" in refused(root, "t")
    check(root, "t", trust_task_code=True)
    check(root, "one")


@pytest.mark.parametrize(
    "files", ["data/none.jsonl", ["data/rows.jsonl", "data/none.jsonl"], {"test": "data/none.jsonl"}, "/none.jsonl"]
)
def test_data_that_are_missing(root: Path, files: Any) -> None:
    write(root, "t.yaml", {"task": "t", "dataset_path": "json", "dataset_kwargs": {"data_files": files}})
    assert "none.jsonl', and there is no such file: correct data_files" in refused(root, "t")
    check(root, "one")


@pytest.mark.parametrize("files", ["data/*.jsonl", "https://host/none.jsonl", None])
def test_data_that_may_be_there(root: Path, files: Any) -> None:
    write(root, "t.yaml", {"task": "t", "dataset_path": "json", "dataset_kwargs": {"data_files": files}})
    check(root, "t")
    write(root, "t.yaml", {"task": "t", "dataset_path": "org/set", "dataset_kwargs": {"data_files": "none"}})
    check(root, "t")


@pytest.mark.parametrize(
    "text",
    ["task: [", "- a\n", "x: !!python/object/apply:os.getcwd []\n", "include: t.yaml\n", "include: none\n", "\x00"],
)
def test_files_that_are_no_tasks(root: Path, text: str) -> None:
    write(root, "t.yaml", text)
    assert "t.yaml" in refused(root, "one") or "none" in refused(root, "one")


def test_the_plan_imports_neither_lm_eval_nor_torch() -> None:
    script = "import ptqbench.plan, sys; print(sorted({'torch', 'lm_eval', 'datasets'} & set(sys.modules)))"
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env)
    assert run.stdout.strip() == "[]"
