"""What the jobs of a run take, from a model's headers: pure arithmetic on sizes. A first form, to be made exact.

Time is operations over a rate. ``GPU`` and ``PASSES`` are from ``benchmarks/README.md``: Llama-3-8B on one H200, and
``pocket-llama`` on one core (``gptq-propagated`` 51 s, where a pass over its calibration tokens takes 20 s).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptqbench.models.adapter import load_adapter
from ptqbench.models.headers import read_config, read_headers
from ptqbench.recipe import member_list

GPU, CPU = 4e14, 6e10  # operations a second of an H200 in bfloat16, and of one job's share of two cores
START = 6.0  # seconds until a job has imported what it needs
PROCESS = 4e8  # bytes that it then holds
PROPAGATED = 2.5  # passes over the calibration tokens, of a method that runs the model behind what is quantized
# passes besides, of members that train or compare
PASSES = {"gptaq": 6.0, "signround": 30.0, "learned": 46.0, "rotation_learned": 1.3, "magr": 3.0}
EVALUATED = 2 * 64 * 1024  # tokens of the suite: two texts, 64 windows
FLOAT = 4  # bytes


@dataclass(frozen=True)
class Size:
    """A model: bytes of its files, elements of the quantized linears, of the largest block, and of all Hessians."""

    file_bytes: int
    linears: int
    block: int
    hessians: int
    largest_hessian: int


@dataclass(frozen=True)
class Need:
    """A rule's jobs: how many, and seconds, bytes of memory and bytes of disk of one."""

    rule: str
    jobs: int
    seconds: float
    memory: float
    disk: float


def size_of(folder: Path, where: str) -> Size:
    """Read a model's headers."""
    config, headers = read_config(folder, where), read_headers(folder, where)
    adapter = load_adapter(config, where).named_as(headers)
    total, largest, hessians, widest = 0, 0, 0, 0
    for block in range(adapter.n_blocks(config)):
        own = 0
        for site in adapter.sites(config, block):
            names = [f"{adapter.prefix(block)}{linear}.weight" for linear in site.linears]
            shapes = [headers[name].shape for name in names if name in headers]
            own += sum(shape[0] * shape[1] for shape in shapes)
            if shapes:
                hessians, widest = hessians + shapes[0][1] ** 2, max(widest, shapes[0][1] ** 2)
        total, largest = total + own, max(largest, own)
    files = {header.file for header in headers.values()}
    return Size(sum(file.stat().st_size for file in files), total, largest, hessians, widest)


def passes(recipe: dict[str, Any]) -> float:
    """Runs of the model over the calibration tokens that quantizing takes."""
    trained = sum(PASSES.get(member["name"], 0.0) for _, member in member_list(recipe))
    return trained + (PROPAGATED if recipe["propagate"] else 0.0)


def packed_bytes(size: Size, bits: int, group: int) -> float:
    """A checkpoint: codes, a scale and a zero of each group, and the rest as it was."""
    per_weight = bits + (16 + bits) / group if group > 0 else bits
    return size.linears * per_weight / 8 + max(0, size.file_bytes - 2 * size.linears)


def needs(
    size: Size, recipes: Sequence[dict[str, Any]], bits: Sequence[int], group: int, tokens: int, device: float
) -> list[Need]:
    """What every rule takes for the methods of ``recipes`` at the widths of ``bits``."""
    forward = 2 * size.linears * tokens / device
    gathered = 2 * size.hessians * tokens / device
    rounded = 2 * size.linears * size.largest_hessian**0.5 / device
    work = FLOAT * (3 * size.block + 3 * size.largest_hessian)
    cells = len(recipes) * len(bits)
    quantized = sum(START + rounded + passes(recipe) * forward for recipe in recipes) / max(1, len(recipes))
    packed = sum(packed_bytes(size, width, group) for width in bits) / max(1, len(bits))
    codes = size.linears * (1 + 4 / max(group, 64))
    evaluated = START + 2 * (size.file_bytes / 2) * EVALUATED / device
    return [
        Need("statistics", 1, START + forward + gathered, PROCESS + work, FLOAT * size.hessians),
        Need("quantize", cells, quantized, PROCESS + work, codes),
        Need("export", cells, START, PROCESS + 2 * size.block * FLOAT, packed),
        Need("evaluate", cells + 1, evaluated, PROCESS + 2 * size.file_bytes, 0.0),
    ]


def at_once(gpus: int) -> int:
    """Jobs that run side by side: one on each GPU, two without."""
    return gpus or 2
