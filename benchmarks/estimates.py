"""How good estimates are: each job of a plan that was run here, as it was expected and as it was.

    PYTHONPATH=src python benchmarks/estimates.py [FOLDER]    after `snakemake` there
    PYTHONPATH=src python benchmarks/estimates.py --again     the stored tables of models of benchmarks/chain.py

Memory and disk are of the records (GPU memory where there is a GPU, else resident memory) and of the folders; seconds
are Snakemake's own, of whole jobs. Estimates of time are by the default rates, and by those that this machine has
learned (PTQBENCH_RATES names a file of rates from before the run). Prints a line for each rule, model and method, and
writes benchmarks/results/estimates.csv. `--again` keeps what was measured, and writes what is expected of it today, the
times of a table by the rates of those before it.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import polars as pl
import yaml
from quantizing.workspace import configure, write_model, write_text

from ptqbench.estimates import fits, rates
from ptqbench.estimates.jobs import Job, jobs, sizes
from ptqbench.estimates.needs import GPU, Need
from ptqbench.evaluation import runtime
from ptqbench.place import home
from ptqbench.plan import Plan

RESULTS = Path(__file__).parent / "results"
CHAINS = {"llama3-8b": 32, "llama3-70b": 4, "mixtral-8x7b": 5}  # layers, in the order in which they were run


def wall(folder: Path, output: Path) -> float | None:
    """Seconds of the job that made an output, as Snakemake remembers them."""
    longest = os.pathconf(folder, "PC_NAME_MAX")
    name = base64.urlsafe_b64encode(str(output.relative_to(folder)).encode()).decode()
    parts = [name[i : i + longest - 1] for i in range(0, len(name), longest - 1)]
    file = folder / ".snakemake/metadata" / "/".join([*(f"@{part}" for part in parts[:-1]), parts[-1]])
    if not file.is_file():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    return found["endtime"] - found["starttime"] if found["starttime"] else None


def measured(job: Job, folder: Path) -> dict[str, Any]:
    """What a job took: seconds, peak memory, bytes on disk."""
    record = json.loads(job.output.read_text(encoding="utf-8"))
    files = [job.output] if job.rule == "evaluate" else [f for f in job.output.parent.rglob("*") if f.is_file()]
    return {
        "seconds": wall(folder, job.output),
        "memory": record.get("peak_memory_bytes"),
        "disk": sum(file.stat().st_size for file in files if file != job.output),
    }


def rows(folder: Path) -> Iterator[dict[str, Any]]:
    """A row for each kind of job that has run."""
    os.chdir(folder)
    config = yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8"))
    runtime.settle(config, home())
    here, took = fits.machine(folder), rates.read(rates.file())
    plan = Plan(config, workflow=home())
    every = [job for job in jobs(plan, folder / "results", here.host, sizes(plan)) if job.output.is_file()]
    learned, kinds = fits.seconds(every, here, took), dict.fromkeys((j.rule, j.model, j.what) for j in every)
    for kind in kinds:
        own = [(job, t) for job, t in zip(every, learned, strict=True) if (job.rule, job.model, job.what) == kind]
        found = [measured(job, folder) for job, _ in own]
        peaks = [one["memory"] for one in found if one["memory"]]
        yield {
            **dict(zip(("rule", "model", "what"), kind, strict=True)),
            "jobs": len(own),
            "seconds": mean(one["seconds"] or 0.0 for one in found),
            "expected by default": mean(job.need.seconds(here.host) for job, _ in own),
            "expected": mean(t for _, t in own),
            "memory MB": max(peaks) / 1e6 if peaks else None,
            "expected memory MB": max(job.need.gpu or job.need.host for job, _ in own) / 1e6,
            "disk MB": sum(one["disk"] for one in found) / 1e6,
            "expected disk MB": sum(job.need.disk for job, _ in own) / 1e6,
            "device": str(here),
        }


def again(stored: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Tables by shape with what is expected today; rates are learned from one to the next."""
    found: dict[str, pl.DataFrame] = {}
    took: list[rates.Took] = []
    for shape, table in stored.items():
        needs = planned(shape, CHAINS[shape])
        made, learned = [], []
        for row in table.iter_rows(named=True):
            need = needs[row["rule"], row["what"]]
            seconds = need.seconds(GPU)
            scale, work = rates.scale(took, row["rule"], row["what"], gpu=True), seconds - need.start
            made.append(
                {
                    **row,
                    "expected by default": seconds,
                    "expected": scale.start * need.start + scale.work * work,
                    "expected memory MB": (need.gpu or need.host) / 1e6,
                    "expected disk MB": row["jobs"] * need.disk / 1e6,
                }
            )
            learned.append(rates.Took("", True, row["rule"], row["what"], need.start, work, row["seconds"]))
        found[shape], took = pl.DataFrame(made, schema=table.schema), took + learned
    return found


def planned(shape: str, layers: int) -> dict[tuple[str, str], Need]:
    """What each job of ``benchmarks/chain.py`` takes on one GPU, by rule and method; the model's files are hollow."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model", shape, layers, None)
        write_text(folder / "text.txt", 2 * 2048)
        configure(folder, ["gptq", "awq"], 128, 2048, 128)
        plan = Plan(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")), folder, workflow=home())
        every = jobs(plan, folder / "results", GPU, sizes(plan))
        float_cells = folder / "results/packed/model/none"
        return {(job.rule, job.what): job.need for job in every if not job.output.is_relative_to(float_cells)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/estimates.csv"))
    parser.add_argument("--again", action="store_true", help="what is expected of the stored tables")
    args = parser.parse_args()
    if args.again:
        tables = {shape: RESULTS / f"estimates-{shape}.csv" for shape in CHAINS}
        for shape, made in again({shape: pl.read_csv(file) for shape, file in tables.items()}).items():
            made.write_csv(tables[shape], float_precision=2)
        return
    out, table = args.out.resolve(), pl.DataFrame(list(rows(args.folder.resolve())), infer_schema_length=None)
    out.parent.mkdir(parents=True, exist_ok=True)
    table.write_csv(out, float_precision=2)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=200, float_precision=1):
        print(table)
    for name in ("seconds", "memory MB", "disk MB"):
        print(
            name,
            "sum",
            table[name].sum(),
            "expected",
            table[f"expected {name}" if name != "seconds" else "expected"].sum(),
        )


if __name__ == "__main__":
    main()
