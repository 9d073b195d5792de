"""Mixed bit-widths: a width for each input site, so that a cell loses least within the bytes of a uniform one.

The linears of a site share a width, as they share a Hessian, and as servers that fuse them need it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ptqbench.errors import UserError
from ptqbench.quantize.cell import Cell
from ptqbench.quantize.grid import Grid
from ptqbench.quantize.knapsack import Option, allocate
from ptqbench.quantize.site import QuantizedBlock

Widths = dict[tuple[int, str], int]  # (block, site) to bits


def scheme_grid(scheme: dict[str, Any], recipe: dict[str, Any]) -> Grid:
    """The grid of a scheme; of a mixed one, that of its largest width."""
    half_integer = recipe["range"].get("zero") == "half_integer"
    bits = max(scheme["choices"]) if scheme["bits"] == "mixed" else scheme["bits"]
    return Grid(bits, scheme["group_size"], scheme["symmetric"], half_integer)


def choose_widths(cell: Cell, choices: Sequence[int], budget: float) -> Widths:
    """The widths that a knapsack over the cell's own losses chooses; ``budget`` in bits per weight, grids aside.

    The cell is quantized once at each width. What counts is each linear's noise against its signal, ``1 / SNR``: the
    outputs of different layers have different scales.
    """
    options: dict[tuple[int, str], list[Option]] = {}
    for bits in choices:
        cell.grid = replace(cell.grid, bits=bits)
        for index, (block, _) in enumerate(cell.blocks()):
            for site, option in site_options(block).items():
                options.setdefault((index, site), []).append(option)
    cell.grid = replace(cell.grid, bits=max(choices))
    found = allocate(list(options.values()), uniform_cost(list(options.values()), choices, budget))
    if found is None:
        raise UserError(f"a budget of {budget} bits holds no cell of {min(choices)} bits: raise it")
    return {key: choices[index] for key, index in zip(options, found, strict=True)}


def site_options(block: QuantizedBlock) -> dict[str, Option]:
    """By site: the bits that its packed linears take, and the sum of their noise-to-signal ratios."""
    found: dict[str, Option] = {}
    for record in block.records:
        cost, loss = found.get(record["site"], (0, 0.0))
        linear = block.linears[record["linear"].partition(".")[2]]
        found[record["site"]] = (cost + 8 * linear.packed_bytes, loss + 10 ** (-record["snr_db"] / 10))
    return found


def uniform_cost(items: Sequence[Sequence[Option]], choices: Sequence[int], budget: float) -> int:
    """What a uniform cell of ``budget`` bits takes, from what those of the ``choices`` take: linear in the width."""
    totals = dict(zip(choices, (sum(item[index][0] for item in items) for index in range(len(choices))), strict=True))
    low, high = min(totals), max(totals)
    if low == high:
        return totals[low]
    return math.floor(totals[low] + (totals[high] - totals[low]) * (budget - low) / (high - low))
