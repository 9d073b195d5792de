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
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch
import yaml
from quantizing.shapes import SHAPES, make_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from ptqbench.devices import visible_gpus
from ptqbench.manifest import load

REPOSITORY = Path(__file__).parents[1]
COPIED = ("Snakefile", "workflow", "profiles", "envs", "src")
VOCABULARY = 8192
METHODS: dict[str, dict[str, Any]] = {
    "magr+gptq": {"transform": "magr", "rounding": "gptq"},  # the longest of those that scatter
    "quip": {"transform": "incoherence", "range": "rms", "rounding": "ldlq"},
    "gptq": {"rounding": "gptq"},
}
CELL = "results/quantized/model/text/cell/w4/manifest.json"
STATISTICS = "results/statistics/model/text/manifest.json"


def write_model(folder: Path, shape: str, layers: int, device: str) -> None:
    """Random weights, and a tokenizer with a word for each token."""
    make_model(folder, SHAPES[shape][1], layers, torch.device(device))
    words = Tokenizer(WordLevel({f"t{i}": i for i in range(VOCABULARY)}, unk_token="t0"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="t0", eos_token="t1").save_pretrained(folder)


def write_text(file: Path, words: int) -> None:
    """Random words."""
    chosen = random.Random(0)
    file.write_text(" ".join(f"t{chosen.randrange(2, VOCABULARY)}" for _ in range(words)), encoding="utf-8")


def configure(folder: Path, args: argparse.Namespace, scatter: int) -> None:
    """One model, one method, one scheme."""
    config = {
        "models": {"model": {"path": "model"}},
        "calibration": {"text": {"corpus": "text.txt", "samples": args.samples, "sequence_length": args.length}},
        "schemes": {"w4": {"bits": 4, "group_size": args.group_size}},
        "methods": {"cell": METHODS[args.method]},
        "suites": {"perplexity": {"kind": "perplexity", "corpora": {"text": "text.txt"}, "window": args.length}},
        "grid": [{"models": ["model"], "methods": ["cell"], "schemes": ["w4"], "suites": ["perplexity"]}],
        "backend": "transformers",
        "scatter": scatter,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def run(folder: Path, target: str, gpus: list[str], jobs: int) -> float:
    """Seconds that Snakemake takes to make the target on these GPUs; its output is shown where it fails."""
    command = [sys.executable, "-m", "snakemake", target, "--cores", str(os.cpu_count()), "--resources", f"gpu={jobs}"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "CUDA_VISIBLE_DEVICES": ",".join(gpus)}
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}\n{' '.join(command)} failed")
    return time.perf_counter() - begun


def measured(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """One row for each number of jobs."""
    gpus = visible_gpus()[: args.gpus]
    for name in COPIED:
        source = REPOSITORY / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / name)
    write_model(folder / "model", args.shape, args.layers, "cuda" if gpus else "cpu")
    write_text(folder / "text.txt", 2 * args.samples * args.length)
    configure(folder, args, 1)
    print(f"statistics: {run(folder, STATISTICS, gpus[:1], 1):.1f} s", flush=True)
    rows, codes = [], []
    for parts in (1, max(2, len(gpus))):
        configure(folder, args, parts)
        seconds = run(folder, CELL, gpus[:parts], parts)
        codes.append(load(folder / CELL)["files"])
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
