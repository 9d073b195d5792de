"""The whole workflow of two commits beside each other, without a GPU: what a user waits for, and one cell's CPU time.

    git worktree add OLD 51ceef6
    PYTHONPATH=src python benchmarks/workflow.py OLD . [--cpus 0,1 2,3]

Each checkout runs OLD's default config in its own folder from nothing, both at the same time, on cores of their own; a
machine of two cores runs them one after the other with `--cpus 0,1 0,1`. The page is left out: it needs packages that
evaluations do not. Then one cell's jobs are run again, alone, for their CPU seconds: the least of three.
Writes benchmarks/results/workflow.csv.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl

OUT = Path("benchmarks/results/workflow.csv")
CELL = "results/eval/pocket-llama/wikitext2/gptq/w4g128/perplexity.json"
STAGE = re.compile(r"Shell command: (.*-m ptqbench\.stages\.(quantize|export|evaluate) .*--out (\S+).*)")
TARGET = re.compile(r"output: (results/eval/\S+)")
REPEATS = 3


def environment(tree: Path) -> dict[str, str]:
    """No GPU, and the tree's own code."""
    paths = [str(tree / "src"), *filter(None, os.environ.get("PYTHONPATH", "").split(":")[1:])]
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ":".join(paths)}


def spent(command: list[str], tree: Path, log: Path) -> tuple[float, float, int]:
    """Wall and CPU seconds of a command and its children, and its status."""
    begun = time.perf_counter()
    with log.open("w") as stream:
        child = subprocess.Popen(command, cwd=tree, env=environment(tree), stdout=stream, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, child.returncode


def snakemake(cpus: str, config: Path, *more: str) -> list[str]:
    """The engine on some cores."""
    number = len(cpus.split(","))
    command = ["taskset", "-c", cpus, sys.executable, "-m", "snakemake", "--cores", str(number)]
    return [*command, *more, "--configfile", str(config), "--replace-workflow-config"]


def planned(tree: Path, cpus: str, config: Path, log: Path, *more: str) -> str:
    """What a dry run prints."""
    _, _, status = spent(snakemake(cpus, config, "--dry-run", "--printshellcmds", *more), tree, log)
    if status:
        sys.exit(f"{tree}: {log.read_text()[-2000:]}")
    return log.read_text()


def whole(tree: Path, cpus: str, config: Path, log: Path) -> dict[str, Any]:
    """Every evaluation of the config, from nothing."""
    shutil.rmtree(tree / "results", ignore_errors=True)
    targets = sorted(set(TARGET.findall(planned(tree, cpus, config, log))))
    wall, cpu, status = spent(snakemake(cpus, config, *targets), tree, log)
    if status or not all((tree / target).exists() for target in targets):
        sys.exit(f"{tree}: {log.read_text()[-2000:]}")
    return {"what": "workflow", "evaluations": len(targets), "wall_seconds": wall, "cpu_seconds": cpu}


def jobs(tree: Path, cpus: str, config: Path, log: Path) -> list[dict[str, Any]]:
    """The jobs of one cell."""
    found = STAGE.findall(planned(tree, cpus, config, log, CELL, "--forcerun", "quantize"))
    rows = []
    for command, stage, out in found:
        times = []
        for _ in range(REPEATS):
            (tree / out).unlink(missing_ok=True)
            wall, cpu, status = spent(["taskset", "-c", cpus, "bash", "-c", command], tree, log)
            if status:
                sys.exit(f"{tree}: {command} failed")
            times.append((cpu, wall))
        cpu, wall = min(times)
        rows.append({"what": f"{stage} of one cell", "evaluations": 1, "wall_seconds": wall, "cpu_seconds": cpu})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", type=Path, nargs=2, metavar="TREE")
    parser.add_argument("--cpus", nargs=2, default=["0,1", "2,3"])
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    trees = [tree.resolve() for tree in args.trees]
    config = trees[0] / "config.yaml"
    logs = [args.out.resolve().with_suffix(f".{name}.log") for name in ("old", "new")]
    lanes = list(zip(trees, args.cpus, [config] * 2, logs, strict=True))
    with ThreadPoolExecutor(1 if args.cpus[0] == args.cpus[1] else 2) as pool:
        wholes = list(pool.map(lambda lane: whole(*lane), lanes))
    rows = [{"tree": name, **row} for name, row in zip(("old", "new"), wholes, strict=True)]
    for name, lane in zip(("old", "new"), lanes, strict=True):
        rows += [{"tree": name, **row} for row in jobs(*lane)]
    table = pl.DataFrame(rows)
    old, new = (table.filter(tree=name) for name in ("old", "new"))
    joined = new.join(old, on="what", suffix="_old").with_columns(
        (pl.col("wall_seconds") / pl.col("wall_seconds_old")).alias("wall_ratio"),
        (pl.col("cpu_seconds") / pl.col("cpu_seconds_old")).alias("cpu_ratio"),
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    joined.drop("tree", "tree_old").write_csv(args.out, float_precision=3)
    print(json.dumps(joined.to_dicts(), indent=1))


if __name__ == "__main__":
    main()
