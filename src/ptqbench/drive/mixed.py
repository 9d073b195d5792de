"""Mixed bit-widths: a width for each input site, so that a cell loses least within the bytes of a uniform one.

The linears of a site share a width, as they share a Hessian, and as servers that fuse them need it; every expert has
its own two sites. A site's loss at a width is its proxy loss there, in units of what that does to the model: the KL to
the float model that rounding this site alone causes, over its proxy loss. (Without those units, mixtures lost to
uniform schemes of equal bytes.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ptqbench.artifacts.linear import packed_bytes
from ptqbench.drive.cell import Cell
from ptqbench.drive.site import QuantizedBlock
from ptqbench.errors import UserError
from ptqbench.linalg.divergence import divergence
from ptqbench.linalg.knapsack import Option, allocate
from ptqbench.linalg.proxy import proxy_loss
from ptqbench.methods.problem import Problem, nearest
from ptqbench.methods.ranges.minmax import Minmax
from ptqbench.methods.state import BlockState
from ptqbench.models.experts import weight_view
from ptqbench.models.load import load_whole
from ptqbench.numbers.grid import Grid

SAMPLES = 8  # calibration sequences that the KL is taken on

Place = tuple[int, str]  # block and site


def best_widths(cell: Cell, choices: Sequence[int], budget: float) -> dict[Place, int]:
    """:func:`choose_widths` of a cell's own model."""
    return choose_widths(cell, load_whole(cell.checkpoint, torch.float32).to(cell.device), choices, budget)


def choose_widths(cell: Cell, model: nn.Module, choices: Sequence[int], budget: float) -> dict[Place, int]:
    """The widths that an exact knapsack chooses; a uniform cell of ``budget`` bits would take as many bytes.

    The cell is quantized once at each width; ``model`` is the float model on the cell's device.
    Raises :class:`UserError` for a budget that holds no cell of the smallest width.
    """
    options: dict[Place, list[Option]] = {}
    weights = importance(cell, model, min(choices))
    for bits in choices:
        cell.grid = replace(cell.grid, bits=bits)
        for index, (block, _) in enumerate(cell.blocks()):
            for site, (cost, loss) in site_options(block).items():
                options.setdefault((index, site), []).append((cost, loss * weights[index, site]))
    cell.grid = replace(cell.grid, bits=max(choices))
    items = list(options.values())
    found = allocate(items, uniform_cost(items, choices, budget))
    if found is None:
        raise UserError(f"a budget of {budget} bits holds no cell of {min(choices)} bits: raise it")
    return {place: choices[index] for place, index in zip(options, found, strict=True)}


def importance(cell: Cell, model: nn.Module, bits: int) -> dict[Place, float]:
    """KL in nats per token over the proxy loss, of rounding each site alone to nearest at ``bits``."""
    tokens = cell.tokens[:SAMPLES]
    reference = logits(model, tokens)
    blocks = model.get_submodule(cell.checkpoint.adapter.blocks)
    grid, found = replace(cell.grid, bits=bits), {}
    for index in range(cell.n_blocks):
        state = cell.state(index)
        for site in (site for site in state.sites if site.linears):
            rounded = {linear: nearest_weight(state, linear, site.name, grid) for linear in site.linears}
            loss = sum(
                proxy_loss(state.weight(linear) - weight, state.statistics[site.name].hessian).sum().item()
                for linear, weight in rounded.items()
            )
            own = {linear: weight_view(blocks.get_submodule(str(index)), linear).data for linear in rounded}
            before = {linear: tensor.clone() for linear, tensor in own.items()}
            for linear, weight in rounded.items():
                own[linear].copy_(weight)
            found[index, site.name] = mean_divergence(reference, logits(model, tokens)) / max(loss, 1e-30)
            for linear, tensor in before.items():
                own[linear].copy_(tensor)
    return found


def nearest_weight(state: BlockState, linear: str, site: str, grid: Grid) -> Tensor:
    """A weight ``[m, n]`` rounded to nearest on its full range."""
    plain = nearest(Problem(state.weight(linear), state.statistics[site].hessian, grid, Minmax().bounds))
    return grid.decode(grid.grouped(plain.codes), plain.scale.unsqueeze(-1), plain.zero.unsqueeze(-1)).flatten(1)


@torch.no_grad()
def logits(model: nn.Module, tokens: Tensor) -> list[Tensor]:
    """Logits of one sequence after the other, on the CPU."""
    device = next(model.parameters()).device
    return [model(input_ids=row[None].to(device), use_cache=False).logits.float().cpu() for row in tokens]


def mean_divergence(reference: list[Tensor], other: list[Tensor]) -> float:
    """Mean KL in nats per token."""
    found = [divergence(wanted, seen).flatten() for wanted, seen in zip(reference, other, strict=True)]
    return float(torch.cat(found).mean())


def site_options(block: QuantizedBlock) -> dict[str, Option]:
    """By site: the bits that its packed linears take, and the sum of their proxy losses."""
    losses: dict[str, float] = {}
    for record in block.records:
        losses[record["site"]] = losses.get(record["site"], 0.0) + record["proxy_loss"]
    return {site: (8 * packed_bytes(linears), losses[site]) for site, linears in block.sites().items()}


def uniform_cost(items: Sequence[Sequence[Option]], choices: Sequence[int], budget: float) -> int:
    """What a uniform cell of ``budget`` bits takes, from what those of the ``choices`` take: linear in the width."""
    totals = dict(zip(choices, (sum(item[index][0] for item in items) for index in range(len(choices))), strict=True))
    low, high = min(totals), max(totals)
    return math.floor(totals[low] + (totals[high] - totals[low]) * (budget - low) / (high - low))
