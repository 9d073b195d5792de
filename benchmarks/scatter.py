"""How a cell's blocks spread over GPUs: the workflow's own ``scatter`` on one and on several GPUs of a host.

    PYTHONPATH=src python benchmarks/scatter.py [--gpus 4] [--layers 12] [--method magr+gptq]

Makes a model of random weights with the layer shapes of a known one, takes its statistics once, and times
``snakemake`` for one cell: as one job on one GPU, and scattered over all. Times are of whole runs, with the start of
Snakemake and of every job, which does not spread. The codes must be the same to the bit. Writes
benchmarks/results/scatter.csv. `--shape tiny` tries it anywhere, without GPUs as two jobs beside each other.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import torch
from quantizing.shapes import SHAPES
from quantizing.workspace import METHODS, configure, make_workspace, snakemake

from ptqbench.devices import visible_gpus
from ptqbench.manifest import load

STATISTICS = "results/statistics/model/text/manifest.json"


def measured(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """One row for each number of jobs."""
    gpus = visible_gpus()[: args.gpus]
    cell = f"results/quantized/model/text/{args.method}/w4/manifest.json"
    shape = (args.samples, args.length, args.group_size)
    make_workspace(folder, args.shape, args.layers, "cuda" if gpus else "cpu", 2 * args.samples * args.length)
    configure(folder, [args.method], *shape)
    print(f"statistics: {snakemake(folder, STATISTICS, gpus[:1]):.1f} s", flush=True)
    rows, codes = [], []
    for parts in (1, max(2, len(gpus))):
        configure(folder, [args.method], *shape, scatter=parts)
        seconds = snakemake(folder, cell, gpus[:parts], parts)
        codes.append(load(folder / cell)["files"])
        rows.append({"jobs": parts, "gpus": min(parts, len(gpus)), "seconds": seconds})
        print(f"{parts} jobs on {min(parts, len(gpus))} GPUs: {seconds:.1f} s", flush=True)
    if codes[0] != codes[1]:
        sys.exit("the scattered cell has other codes")
    device = torch.cuda.get_device_name() if gpus else "cpu"
    shared = {"shape": args.shape, "layers": args.layers, "method": args.method, "device": device}
    today = {"torch": torch.__version__, "date": date.today().isoformat()}
    return [{**shared, **row, "speedup": rows[0]["seconds"] / row["seconds"], **today} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="llama3-8b", choices=sorted(SHAPES))
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--method", default="magr+gptq", choices=METHODS)
    parser.add_argument("--gpus", type=int, help="how many of those that are visible; all by default")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--group-size", type=int, default=128)
    parser.add_argument("--folder", type=Path, help="where the model and its statistics are written, and removed")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scatter.csv"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        rows = measured(args, Path(folder))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with open(args.out, "w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    print(args.out.read_text(), end="")


if __name__ == "__main__":
    main()
