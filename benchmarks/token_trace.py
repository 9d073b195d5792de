"""Where a token's time goes: the kernels of a few steps of decoding, recorded by vLLM's own profiler.

The server needs :func:`flags`; recording starts after some steps, so that the prompt is not among them.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl

from ptqbench.evaluation.client import Client

SKIPPED, STEPS = 16, 32
ONCE_A_LAYER = "reshape_and_cache"  # vLLM's kernel that writes a layer's keys and values
NAME = 96  # characters of a kernel's name that are kept

Event = dict[str, Any]


def flags(folder: Path) -> tuple[str, ...]:
    """What ``vllm serve`` needs to record into ``folder``."""
    settings = {
        "profiler": "torch",
        "torch_profiler_dir": str(folder.resolve()),
        "torch_profiler_with_stack": False,
        "torch_profiler_dump_cuda_time_total": False,
        "ignore_frontend": True,
        "delay_iterations": SKIPPED,
        "max_iterations": STEPS,
    }
    return "--profiler-config", json.dumps(settings)


def record(client: Client, prompt: list[int], folder: Path, layers: int) -> pl.DataFrame:
    """:func:`per_token` of one answer at batch 1."""
    client.post("/start_profile")
    client.complete([prompt], max_tokens=SKIPPED + 2 * STEPS, ignore_eos=True)
    client.post("/stop_profile")
    return per_token(events(folder), layers)


def events(folder: Path) -> list[Event]:
    """What the one trace in ``folder`` holds."""
    traces = list(folder.rglob("*.pt.trace.json.gz"))
    if len(traces) != 1:
        raise ValueError(f"the server wrote {len(traces)} traces, where one was asked for")
    with gzip.open(traces[0], "rt") as stream:
        found: list[Event] = json.load(stream)["traceEvents"]
    return found


def per_token(found: list[Event], layers: int) -> pl.DataFrame:
    """Rows ``kernel, calls, microseconds`` a token, the longest first, and at last the time between kernels."""
    kernels = [event for event in found if str(event.get("cat")) in {"kernel", "gpu_memcpy", "gpu_memset"}]
    writes = sum(ONCE_A_LAYER in event["name"] for event in kernels)
    if not writes or writes % layers:
        raise ValueError(f"{writes} kernels {ONCE_A_LAYER} of {layers} layers: no whole steps were recorded")
    steps = writes // layers
    begin = min(event["ts"] for event in kernels)
    end = max(event["ts"] + event["dur"] for event in kernels)
    table = pl.DataFrame({"kernel": [e["name"][:NAME] for e in kernels], "us": [float(e["dur"]) for e in kernels]})
    sums = table.group_by("kernel").agg(calls=pl.len() / steps, microseconds=pl.col("us").sum() / steps)
    idle = (end - begin - table["us"].sum()) / steps
    between = pl.DataFrame({"kernel": ["(between kernels)"], "calls": [0.0], "microseconds": [idle]})
    return pl.concat([sums.sort("microseconds", descending=True), between])
