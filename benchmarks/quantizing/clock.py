"""Seconds and memory, on the device's own time line where it has one."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any, TextIO

import torch

from ptqbench.artifacts.linear import QuantizedLinear
from ptqbench.drive import propagate, site
from ptqbench.linalg.basis import Basis
from ptqbench.methods import columns, problem, rotate, state
from ptqbench.methods.rounding import gptq, ldlq
from ptqbench.methods.transforms import salience
from ptqbench.models import collect
from ptqbench.statistics import hessian, magnitude, moments

STAGES: dict[str, list[tuple[Any, str]]] = {
    "forward and statistics": [(collect, "advance"), (propagate, "advance"), (propagate, "collect_stage")],
    "Hessians": [(hessian, "update")],
    "other statistics": [(magnitude, "update"), (moments, "update")],
    "fold": [(hessian, "finish"), (state, "unfold")],
    "factor": [(gptq, "upper_factor"), (ldlq, "upper_factor")],
    "rounding": [(gptq, "solve"), (ldlq, "solve"), (ldlq, "greedy_pass")],
    "range": [(problem.Problem, "fit")],
    "candidates": [(salience, "scaled_error"), (salience, "scaled_half")],
    "rotations": [(rotate, "rotate_block")],
    "basis": [(Basis, "forward"), (Basis, "moment")],
    "dequantize": [(QuantizedLinear, "dequantize")],
    "losses": [(module, "proxy_loss") for module in (columns, ldlq, site, salience)] + [(salience, "correlated")],
    "nearest losses": [(site, "nearest_losses"), (propagate, "nearest_losses")],
}


def sync(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0


def timed_call(device: torch.device, function: Callable[[], Any], repeat: int = 3) -> float:
    """Median seconds of a call, after one that is not counted."""
    function()
    found = []
    for _ in range(repeat):
        sync(device)
        begun = time.perf_counter()
        function()
        sync(device)
        found.append(time.perf_counter() - begun)
    return median(found)


def moment(device: torch.device) -> Any:
    """Now, on the device's own time line."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def between(begin: Any, end: Any) -> float:
    """Between two moments that have passed."""
    return end - begin if isinstance(begin, float) else begin.elapsed_time(end) / 1000


@contextmanager
def stage_times(device: torch.device) -> Iterator[dict[str, float]]:
    """Seconds inside the functions of ``STAGES``, on the device's own time line, summed when the context closes."""
    spent: dict[str, float] = {}
    marks: dict[str, list[tuple[Any, Any]]] = defaultdict(list)
    originals = [(owner, name, getattr(owner, name)) for places in STAGES.values() for owner, name in places]

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            begin = moment(device)
            result = function(*args, **kwargs)
            marks[stage].append((begin, moment(device)))
            return result

        return call

    for stage, places in STAGES.items():
        for owner, name in places:
            setattr(owner, name, timed(stage, getattr(owner, name)))
    try:
        yield spent
    finally:
        for owner, name, function in originals:
            setattr(owner, name, function)
        sync(device)
        spent |= {s: sum(between(*pair) for pair in pairs) for s, pairs in marks.items()}


@contextmanager
def replaced(module: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Another function in a module's place for a while."""
    original = getattr(module, name)
    setattr(module, name, function)
    try:
        yield
    finally:
        setattr(module, name, original)


class Both:
    """A stream that writes to two: what is said on the terminal is kept beside the table."""

    def __init__(self, *streams: TextIO) -> None:
        self.streams = streams

    def write(self, text: str) -> int:
        for stream in self.streams:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self.streams:
            stream.flush()
