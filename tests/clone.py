"""A copy of the repository with a tiny model and a small config, and Snakemake runs in it as a user makes them."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import tiny
import yaml

REPOSITORY = Path(__file__).parent.parent
COPIED = ("workflow", "profiles", "envs", "src")
MADE = ("results", "reports", "logs", ".snakemake")
MODEL, TASK = "resources/models/tiny", "resources/tasks/tiny"
TRAIN, TEST = "resources/text/train.txt", "resources/text/test.txt"

CONFIG: dict[str, Any] = {
    "models": {"tiny": {"path": MODEL}},
    "calibration": {"text": {"corpus": TRAIN, "samples": 4, "sequence_length": 32}},
    "schemes": {"w4g32": {"bits": 4, "group_size": 32}, "w2g32": {"bits": 2, "group_size": 32}},
    "methods": {"rtn": {}, "gptq": {"rounding": "gptq"}},
    "suites": {
        "perplexity": {"kind": "perplexity", "corpora": {"test": TEST}, "limit": 4},
        "pairs": {"kind": "tasks", "path": TASK, "tasks": ["tiny_pairs"], "limit": 4},
    },
    "grid": [
        {"models": ["tiny"], "methods": ["rtn", "gptq"], "schemes": ["w4g32", "w2g32"], "suites": ["perplexity"]},
        {"models": ["tiny"], "methods": ["gptq"], "schemes": ["w4g32"], "suites": ["pairs"]},
    ],
}

# Snakemake's own lines name every job, which tests read
ENVIRONMENT = {
    "PYTHONPATH": "",
    "CUDA_VISIBLE_DEVICES": "",
    "PTQBENCH_LOG": "snakemake",
    "PTQBENCH_RATES": os.devnull,  # what tiny models take says nothing of a user's
}

Job = tuple[str, str]  # a rule and its wildcards' values, joined by "/"


class Clone:
    """A working directory of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def snakemake(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run to the end; standard output and error come together, as on a terminal."""
        process = self.start(*arguments, **environment)
        output, _ = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start Snakemake as the leader of a process group."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
            cwd=self.root,
            env={**os.environ, "PATH": path, **ENVIRONMENT, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def stale(self, *targets: str) -> set[Job]:
        """The jobs of a dry run, without those that only follow the others."""
        run = self.snakemake("--dry-run", *targets)
        assert run.returncode == 0, run.stdout
        return jobs(run.stdout) - {("plan", ""), ("report", ""), ("all", "")}

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace a passage that must be there."""
        path = self.root / file
        content = path.read_text()
        assert old in content
        path.write_text(content.replace(old, new, 1))

    def configure(self, config: dict[str, Any]) -> None:
        """Write ``config.yaml``."""
        (self.root / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    def copy(self, root: Path) -> Clone:
        """The same files, results and Snakemake's records at another place."""
        shutil.copytree(self.root, root)
        return Clone(root)

    def finished(self) -> dict[str, int]:
        """When each artifact was finished, by the path of its manifest or result."""
        files = {*self.root.glob("results/**/manifest.json"), *self.root.glob("results/eval/**/*.json")}
        return {file.relative_to(self.root).as_posix(): file.stat().st_mtime_ns for file in files}


def config() -> dict[str, Any]:
    """A copy of the small config, to change."""
    return copy.deepcopy(CONFIG)


def one_cell() -> dict[str, Any]:
    """The small config with one cell and one suite."""
    grid = [{"models": ["tiny"], "methods": ["gptq"], "schemes": ["w4g32"], "suites": ["perplexity"]}]
    return {**config(), "grid": grid}


def make(root: Path) -> Clone:
    """A fresh clone: code, rules, tiny model, text and tasks; no results."""
    root.mkdir(parents=True, exist_ok=True)
    shutil.copy(REPOSITORY / "Snakefile", root)
    for name in COPIED:
        shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    tiny.write_model(root / MODEL)
    (root / TRAIN).parent.mkdir(parents=True)
    (root / TRAIN).write_text(tiny.text(3000, seed=1))
    (root / TEST).write_text(tiny.text(1000, seed=2))
    _write_task(root / TASK)
    clone = Clone(root)
    clone.configure(CONFIG)
    return clone


def jobs(output: str) -> set[Job]:
    """``(rule, wildcards)`` of every job that Snakemake's output announces."""
    found = set()
    for block in re.split(r"^(?=(?:local)?rule \w+:$)", output, flags=re.MULTILINE):
        if rule := re.match(r"(?:local)?rule (\w+):\n((?: .*\n)*)", block):
            wildcards = re.search(r"^ +wildcards: (.*)$", rule[2], re.MULTILINE)
            pairs = wildcards[1].split(", ") if wildcards else []
            found.add((rule[1], "/".join(pair.partition("=")[2] for pair in pairs)))
    return found


def _write_task(folder: Path) -> None:
    folder.mkdir(parents=True)
    rows = [{"good": f"A {word} cat sees the river.", "bad": f"Cat a sees {word} river the."} for word in tiny.WORDS]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = {
        "task": "tiny_pairs",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"train": f"{TASK}/pairs.jsonl"}},
        "output_type": "multiple_choice",
        "validation_split": "train",
        "doc_to_text": "",
        "doc_to_target": 0,
        "doc_to_choice": "{{[good, bad]}}",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    (folder / "pairs.yaml").write_text(yaml.safe_dump(task))
