"""Seconds and memory on one GPU, on models of random weights whose layers have a known model's shapes.

    PYTHONPATH=src python benchmarks/gpu.py [--peers llmcompressor,gptqmodel --peer-path FOLDER]

A few layers are measured, after a warm-up of every kernel, and their median is scaled to the whole model. Weights, and
the statistics of the rows that read them, come from files that were just written, so from the page cache. Writes the
table to benchmarks/results/gpu.csv, and all that it says to gpu.txt beside it.
"""

from __future__ import annotations

import argparse
import csv
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import date
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from quantizing.bench import METHODS, Bench
from quantizing.beside import profiled, run_peer
from quantizing.checks import check
from quantizing.clock import Both
from quantizing.floors import floor, variants
from quantizing.shapes import SHAPES
from quantizing.training import learning

from ptqbench.linalg.orthogonal import made
from ptqbench.members import members
from ptqbench.schemes import FOLDER, INTEGER

OUT = Path("benchmarks/results/gpu.csv")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="llama3-8b", choices=sorted(SHAPES))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--group-size", type=int, default=128)
    parser.add_argument("--number", default=INTEGER, choices=[INTEGER, *members(FOLDER)], help="of 4 bits: what it is")
    parser.add_argument("--epochs", type=int, default=20, help="of OmniQuant; fewer are scaled to 20")
    parser.add_argument(
        "--rows",
        type=lambda text: text.split(","),
        help="also: variants, profile, profile-omniquant, profile-NAME of one more cell",
        default=["check", "floor", "shared", "propagated", "cached", "omniquant", "70b", "mixtral"],
    )
    parser.add_argument("--methods", type=lambda text: text.split(","), default=list(METHODS))
    parser.add_argument("--peers", type=lambda text: text.split(","), default=[], help="see peers.py")
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has the peers")
    parser.add_argument("--peer-path", default="", help="its PYTHONPATH")
    parser.add_argument("--peer-seconds", type=float, default=180.0, help="patience for each")
    parser.add_argument(
        "--profiles", type=Path, default=Path("profiles"), help="the folder that profiles are written to"
    )
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args(namespace=argparse.Namespace(failed=[]))


def rows(args: argparse.Namespace, folder: Path) -> None:
    """Everything that was asked for, on one model after another, and the peers last."""
    bench = Bench(args, folder, args.shape, args.layers)
    print("warm-up", flush=True)
    for run in (bench.shared, partial(bench.propagated, METHODS["gptq"])):
        next(iter(run()))
    others: list[Bench] = []

    def other(shape: str) -> None:
        others.append(Bench(args, folder, shape, 2))
        others[-1].measure(f"{shape} shared", others[-1].shared)

    steps: dict[str, Callable[[], None]] = {
        "check": partial(check, bench),
        "floor": partial(floor, bench),
        "variants": partial(variants, bench),
        "shared": partial(bench.measure, "shared", bench.shared),
        "propagated": partial(bench.measure, "propagated", partial(bench.propagated, METHODS["gptq"])),
        "cached": partial(cached, bench),
        "profile": partial(profiled, bench, "shared", bench.shared),
        "profile-omniquant": partial(profiled, bench, "omniquant", partial(bench.train, 1)),
        "omniquant": partial(learning, args, bench),
        "70b": partial(other, "llama3-70b"),
        "mixtral": partial(other, "mixtral-8x7b"),
    }
    steps |= {f"profile-{name}": partial(profiled_cell, bench, name) for name in METHODS}

    def compared(name: str, other: Bench) -> None:
        other.rows.append(run_peer(name, other))

    for name in args.rows:
        if name == "mixtral" and name not in members("models/adapters"):
            print("mixtral: skipped, there is no adapter for it")
            continue
        attempt(args, name, steps[name], (bench, *others))
    for each, name in product((bench, *others), args.peers):
        if each.shape in (args.shape, "mixtral-8x7b"):
            attempt(args, name, partial(compared, name, each), (bench, *others))


def attempt(args: argparse.Namespace, name: str, step: Callable[[], None], benches: tuple[Bench, ...]) -> None:
    """One step, and the table after it: what fails is told, and leaves the others be."""
    try:
        step()
    except Exception:
        args.failed.append(name)
        traceback.print_exc()
    save(args, [row for each in benches for row in each.rows])


def save(args: argparse.Namespace, found: list[dict[str, Any]]) -> None:
    """Write the table so far: a run that is cut short keeps what it measured."""
    host = {
        "shape": args.shape,
        "tokens": args.samples * args.length,
        "device": torch.cuda.get_device_name() if args.device == "cuda" else platform.machine(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }
    with open(args.out, "w", newline="") as stream:
        names = ["row", "s_per_layer", "whole_model_s", "target_s", "peak_gib", "layers_measured", *host]
        table = csv.DictWriter(stream, names)
        table.writeheader()
        table.writerows({**host, **row} for row in found)


def cached(bench: Bench) -> None:
    """The statistics stage to disk, then one more cell of each method."""
    begun = time.perf_counter()
    bench.collect()
    print(f"statistics with writing: {(time.perf_counter() - begun) / bench.layers:.3f} s/layer", flush=True)
    for name in bench.args.methods:
        warm = bench.cached(METHODS[name])
        next(warm), next(warm)
        warm.close()
        made.cache_clear()
        bench.measure(f"cached {name}", partial(bench.cached, METHODS[name]), once=True)


def profiled_cell(bench: Bench, name: str) -> None:
    """A profile of one more cell."""
    if not bench.statistics.is_dir():
        bench.collect()
    profiled(bench, name, partial(bench.cached, METHODS[name]))


def main() -> None:
    args = arguments()
    torch.set_grad_enabled(False)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        open(args.out.with_suffix(".txt"), "w", encoding="utf-8") as account,
        redirect_stdout(Both(sys.stdout, account)),
    ):
        rows(args, Path(folder))
    print(args.out.read_text())
    if args.failed:
        sys.exit(f"failed: {', '.join(args.failed)}")


if __name__ == "__main__":
    main()
