"""One layer of a learned range: its steps, its looks at all sequences, and the rest."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch

from ptqbench.methods.ranges import learned
from ptqbench.methods.training import descent as training
from quantizing.bench import Bench
from quantizing.clock import between, moment, replaced


def learning(args: argparse.Namespace, bench: Bench) -> None:
    """One layer of OmniQuant's range with GPTQ after it; of fewer epochs, steps and looks are scaled to 20 apart."""
    bench.train(1)  # compiles the kernels of training
    with looks(bench.device) as found:
        bench.measure("omniquant", lambda: bench.train(args.epochs), stages=False)
    row, steps = bench.rows[-1], args.epochs * args.samples
    looking = sum(between(*look) for look in found)
    stepping = sum(
        between(before[1], after[0]) for before, after in pairwise(found[1:])
    )  # of the full range: the first
    rest = row["s_per_layer"] - looking - stepping
    print(
        f"   {steps} steps of {1000 * stepping / steps:.2f} ms, {len(found)} looks at all sequences of "
        f"{1000 * looking / len(found):.1f} ms, {rest:.3f} s of the rest",
        flush=True,
    )
    if args.epochs != 20:
        more = 20 * args.samples
        often = 2 + math.ceil(more / learned.check_every(more, args.samples))
        row["s_per_layer"] = rest + stepping * more / steps + looking * often / len(found)
        row["whole_model_s"] = bench.whole * row["s_per_layer"]
        print(
            f"   scaled to 20 epochs, {more} steps and {often} looks: {row['s_per_layer']:.3f} s/layer, "
            f"{row['whole_model_s']:.0f} s",
            flush=True,
        )


@contextmanager
def looks(device: torch.device) -> Iterator[list[tuple[Any, Any]]]:
    """When each look at all sequences of a training began and ended; between them are its steps."""
    found: list[tuple[Any, Any]] = []
    original = training.total_loss

    def timed(*args: Any) -> float:
        begun = moment(device)
        loss = original(*args)
        found.append((begun, moment(device)))
        return loss

    with replaced(training, "total_loss", timed), replaced(learned, "total_loss", timed):
        yield found
