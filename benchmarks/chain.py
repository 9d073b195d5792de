"""What a user waits for: from a model folder to a packed checkpoint, through ``snakemake``, beside a peer.

    PYTHONPATH=src python benchmarks/chain.py [--shape llama3-8b] [--peer llmcompressor --peer-path FOLDER]

Makes a model of random weights with the layer shapes of a known one and times whole processes: ``snakemake`` from the
folder to the packed checkpoint of the first cell, and of each further cell (statistics are cached by then); and the
peer from the same folder to its packed checkpoint. A job's seconds are from the end of the job before it to its own
end. ``export_memory_gib`` is the resident peak of the export job. Writes benchmarks/results/chain.csv after every row.
`--shape tiny --device cpu` tries it anywhere.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any

import torch
from quantizing.beside import asked
from quantizing.shapes import SHAPES
from quantizing.workspace import METHODS, configure, make_workspace, snakemake

from ptqbench.devices import visible_gpus
from ptqbench.manifest import load
from ptqbench.records import Codes, Packed

STAGES = ("models/model", "calibration/model/text", "statistics/model/text")
COLUMNS = ("row", "seconds", "prepare", "calibrate", "statistics", "quantize", "export", "evaluate")
MEMORY = ("quantize_gpu_gib", "export_memory_gib", "disk_gib")
EVALUATED = "perplexity.json"


def jobs(folder: Path, method: str, begun: float) -> dict[str, float]:
    """Seconds of each job that has ended since ``begun``: jobs of one cell run one after another."""
    cell = f"model/text/{method}/w4"
    outputs = {
        **{stage: f"{place}/manifest.json" for stage, place in zip(COLUMNS[2:5], STAGES, strict=True)},
        "quantize": f"quantized/{cell}/manifest.json",
        "export": f"packed/{cell}/manifest.json",
        "evaluate": f"eval/{cell}/{EVALUATED}",
    }
    ends = {
        stage: file.stat().st_mtime for stage, name in outputs.items() if (file := folder / "results" / name).is_file()
    }
    found, before = {}, begun
    for stage, end in sorted(ends.items(), key=lambda item: item[1]):
        if end > begun:
            found[stage], before = end - before, end
    return found


def cells(args: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """A row for each cell, the first with all that the others find made."""
    gpus = visible_gpus()[:1] if args.device == "cuda" else []
    for method in args.methods:
        begun, packed = time.time(), f"results/packed/model/text/{method}/w4/manifest.json"
        seconds = snakemake(folder, packed, gpus)
        quantized = load(folder / packed.replace("packed", "quantized"), Codes)
        yield {
            "row": f"{'first cell' if method == args.methods[0] else 'further cell'}: {method}",
            "seconds": seconds,
            **jobs(folder, method, begun),
            "quantize_gpu_gib": (quantized["peak_memory_bytes"] or 0) / 2**30,
            "export_memory_gib": (load(folder / packed, Packed)["peak_memory_bytes"] or 0) / 2**30,
            "disk_gib": sum(file.stat().st_size for file in (folder / "results").rglob("*") if file.is_file()) / 2**30,
        }
    begun, target = time.time(), f"results/eval/model/text/{args.methods[0]}/w4/{EVALUATED}"
    seconds = snakemake(folder, target, gpus)
    yield {"row": f"evaluate: {args.methods[0]}", "seconds": seconds, **jobs(folder, args.methods[0], begun)}
    yield {"row": "nothing to do", "seconds": snakemake(folder, target, gpus)}


def peers(args: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """A row for each peer, on the same folder."""
    for name in args.peer:
        log = args.out.with_name(f"{args.out.stem}.{args.shape}.{name}.log")
        found = asked(name, folder / "model", args, log, ["--save", str(folder / "saved")])
        if not found:
            print(f"{name} did not run: see {log}", flush=True)
            continue
        log.unlink()
        shutil.rmtree(folder / "saved")
        yield {
            "row": f"{name} {found['version']}",
            "seconds": found["seconds"],
            "quantize": sum(found["laps"]),
            "export": found["save_seconds"],
            "quantize_gpu_gib": found["peak_gpu_gib"],
        }


def measured(args: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """Every row, with what it was measured on."""
    make_workspace(folder, args.shape, args.layers, args.device, 2 * args.samples * args.length)
    configure(folder, args.methods, args.samples, args.length, args.group_size)
    device = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    shared = {"shape": args.shape, "layers": args.layers, "device": device}
    for rows in (cells, peers):
        for row in rows(args, folder):
            print(
                {key: round(value, 1) if isinstance(value, float) else value for key, value in row.items()}, flush=True
            )
            yield {**row, **shared, "torch": torch.__version__, "date": date.today().isoformat()}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="llama3-8b", choices=sorted(SHAPES))
    parser.add_argument("--layers", type=int, help="all of the known model by default")
    parser.add_argument("--methods", nargs="+", default=["gptq", "awq"], choices=METHODS)
    parser.add_argument("--peer", nargs="*", default=[], help="llmcompressor, gptqmodel")
    parser.add_argument("--peer-path", default="", help="PYTHONPATH that has the peers")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--peer-seconds", type=float, default=900)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--group-size", type=int, default=128)
    parser.add_argument("--folder", type=Path, help="a new one, which is kept")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/chain.csv"))
    args = parser.parse_args()
    args.layers = args.layers or SHAPES[args.shape][0]
    return args


def main() -> None:
    args = arguments()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.folder:
        args.folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() if args.folder is None else nullcontext(args.folder) as folder:
        for row in measured(args, Path(folder)):
            rows.append(row)
            with open(args.out, "w", newline="") as stream:
                table = csv.DictWriter(stream, [*COLUMNS, *MEMORY, "shape", "layers", "device", "torch", "date"])
                table.writeheader()
                table.writerows(rows)
    print(args.out.read_text(), end="")


if __name__ == "__main__":
    main()
