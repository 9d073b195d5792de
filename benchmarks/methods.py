"""Time and memory of each method on the embedded model: one process a method, as the workflow's rule runs it.

    PYTHONPATH=src python benchmarks/methods.py [--methods gptq awq …] [--scheme w2g128] [--threads 2]

Run `snakemake --cores all` once before: it makes the statistics. Writes benchmarks/results/methods.csv.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl
import yaml

from ptqbench import spec
from ptqbench.manifest import canonical, load, versions
from ptqbench.recipe import Recipe
from ptqbench.records import Codes

MODEL, CALIBRATION = "pocket-llama", "wikitext2"
RESULTS = Path("results")
OUT = Path("benchmarks/results/methods.csv")


def measure(config: dict, method: str, scheme: str, threads: int) -> dict:
    """Run one cell's quantize stage in a fresh process and read what it recorded of itself."""
    wanted = spec.quantize_spec(config, MODEL, CALIBRATION, method, scheme)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "manifest.json"
        command = [sys.executable, "-m", "ptqbench.stages.quantize", "--spec", canonical(wanted), "--out", str(out)]
        command += ["--model", str(RESULTS / "models" / MODEL / "manifest.json")]
        for stage in ("calibration", "statistics"):
            command += [f"--{stage}", str(RESULTS / stage / MODEL / CALIBRATION / "manifest.json")]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        made = load(out, Codes)
    recipe = Recipe.of(wanted["method"])
    return {
        "method": method,
        "strategy": " + ".join(recipe.strategy) or "-",
        "forward_passes": "propagated" if recipe.propagate else "none",
        "scheme": scheme,
        "seconds": round(made["seconds"], 2),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "peak_memory_mib": round((made["peak_memory_bytes"] or 0) / 2**20),
        "proxy_loss": round(sum(layer["proxy_loss"] for layer in made["layers"]), 1),
    }


def main() -> None:
    config = yaml.safe_load(Path("config.yaml").read_text())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=list(config["methods"]))
    parser.add_argument("--scheme", default="w2g128")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT, help="the table, written anew after every method")
    args = parser.parse_args()
    host = {"threads": args.threads, "torch": versions()["torch"], "cpu": platform.machine()}
    rows: list[dict] = []
    for method in args.methods:
        rows.append(measure(config, method, args.scheme, args.threads) | host)
        table = pl.DataFrame(rows)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        table.write_csv(args.out)
    with pl.Config(
        tbl_rows=-1, tbl_cols=-1, tbl_formatting="ASCII_MARKDOWN", tbl_hide_column_data_types=True, tbl_width_chars=200
    ):
        print(table)


if __name__ == "__main__":
    main()
