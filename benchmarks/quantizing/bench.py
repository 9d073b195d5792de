"""One model of random weights and the rows measured on it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ptqbench import spec
from ptqbench.drive.propagate import PropagatedCell
from ptqbench.drive.records import unsound
from ptqbench.fallback import Fallback
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.collect import collect_blocks
from ptqbench.models.skeleton import Skeleton
from ptqbench.normalize import normalize
from ptqbench.numbers.grid import make
from ptqbench.pipeline import Download
from ptqbench.stages.common import write
from quantizing.clock import peak, stage_times, sync
from quantizing.shapes import SHAPES, make_model

METHODS: dict[str, dict[str, Any]] = {
    "gptq": {"rounding": "gptq"},
    "awq": {"transform": "salience", "range": "search"},
    "quip": {"transform": "incoherence", "range": "rms", "rounding": "ldlq"},
    "quarot+gptq": {"transform": {"rotation": "hadamard"}, "rounding": "gptq"},
}
TARGETS = {"shared": 20.0, "propagated": 28.0, "omniquant": 600.0} | {f"cached {name}": 7.0 for name in METHODS}


class Bench:
    """One model of random weights and the rows measured on it."""

    def __init__(self, args: argparse.Namespace, folder: Path, shape: str, layers: int) -> None:
        self.args, self.device, self.layers = args, torch.device(args.device), layers
        self.shape, self.whole, self.folder = shape, SHAPES[shape][0], folder / shape
        if not self.folder.is_dir():
            make_model(self.folder, SHAPES[shape][1], layers, self.device)
        self.checkpoint = Checkpoint(self.folder)
        self.grid = make(args.number, 4, args.group_size, False)
        vocabulary = int(self.checkpoint.config["vocab_size"])
        generator = torch.Generator().manual_seed(1)
        self.tokens = torch.randint(3, vocabulary, (args.samples, args.length), generator=generator)
        self.statistics = self.folder / "statistics"
        self.rows: list[dict[str, Any]] = []

    def cell(self, method: dict[str, Any], half_integer: bool = False) -> PropagatedCell:
        grid = replace(self.grid, half_integer=half_integer)
        recipe = normalize("benchmark", method)
        return PropagatedCell(self.checkpoint, recipe, grid, self.statistics, self.device, self.tokens)

    def skeleton(self) -> Skeleton:
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        return Skeleton(self.checkpoint, self.device, dtype)

    def shared(self) -> Iterator[Any]:
        """Statistics and GPTQ in one go: what the two stages do, without the disk between them."""
        skeleton, cell = self.skeleton(), self.cell(METHODS["gptq"])
        inputs = skeleton.inputs(self.tokens, self.args.batch_size)
        yield from cell.blocks(collect_blocks(skeleton, inputs, spec.statistics()))

    def propagated(self, method: dict[str, Any]) -> Iterator[Any]:
        """The same, each site behind the quantized ones."""
        yield from self.cell({**method, "propagate": True}).propagated(self.skeleton(), self.args.batch_size)

    def train(self, epochs: int) -> list[Any]:
        """One layer of OmniQuant's range, with GPTQ after it."""
        method = {"range": {"learned": {"epochs": epochs}}, "rounding": "gptq"}
        return [next(iter(self.propagated(method)))]

    def cached(self, method: dict[str, Any]) -> Generator[Any, None, None]:
        """One more cell from statistics on disk."""
        cell = self.cell(method, half_integer=method.get("range") == "rms")
        cell.prepare()
        yield None  # what is done once for the whole model ends here
        yield from cell.blocks()

    def collect(self) -> None:
        """The statistics stage, to disk."""
        skeleton = self.skeleton()
        inputs = skeleton.inputs(self.tokens, self.args.batch_size)
        for index, (_, found) in enumerate(collect_blocks(skeleton, inputs, spec.statistics())):
            write(self.statistics / f"block-{index:03d}.safetensors", Download(found))

    def measure(self, name: str, run: Callable[[], Iterable[Any]], once: bool = False, stages: bool = True) -> None:
        """Time each block that ``run`` yields; with ``once``, what comes before the first is not scaled."""
        sync(self.device)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        stamps = [time.perf_counter()]
        with stage_times(self.device) as spent:
            made: list[dict[str, Any]] = []
            for result in run():
                sync(self.device)
                stamps.append(time.perf_counter())
                made += result[0].records if result else []
        if told := [str(Fallback.of(record["fallback"])) for record in made if unsound(record)]:
            raise ValueError(f"{name}: {told[0]}")
        laps = [after - before for before, after in pairwise(stamps)]
        first = laps.pop(0) if once else 0.0
        row = {
            "row": name,
            "shape": self.shape,
            "s_per_layer": median(laps),
            "whole_model_s": first + self.whole * median(laps),
            "target_s": TARGETS.get(name),
            "peak_gib": peak(self.device),
            "layers_measured": len(laps),
        }
        self.rows.append(row)
        times = f"{row['s_per_layer']:.4f} s/layer, {row['whole_model_s']:.2f} s, {row['peak_gib']:.2f} GiB"
        detail = " ".join(f"{lap:.3f}" for lap in laps)
        print(f"{name}: {times}; laps {detail}; before {first:.3f}", flush=True)
        if stages:
            parts = ", ".join(f"{stage} {1000 * seconds / len(laps):.1f}" for stage, seconds in spent.items())
            print(f"   ms/layer on the device: {parts}", flush=True)
