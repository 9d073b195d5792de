"""Train the quantization of one block on its output, with straight-through rounding; the best state is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ptqbench.models.experts import fuse
from ptqbench.models.scan import fast_mamba
from ptqbench.models.skeleton import BlockInput
from ptqbench.quantize.grid import Grid
from ptqbench.quantize.problem import Bounds, diagonal_blocks

Weights = dict[str, Tensor]  # linear to its weight as quantized, differentiable
Ends = dict[str, tuple[Tensor, Tensor]]  # linear to (low, high), [m, groups]


@dataclass
class Learned:
    """What was learned of a block: bounds ``[m, groups]`` and, for learned rounding, offsets ``[m, n]``, by linear."""

    bounds: Ends
    offset: dict[str, Tensor] | None = None
    record: dict[str, Any] = field(default_factory=dict)


def ste_round(x: Tensor) -> Tensor:
    """Round with the identity's gradient."""
    return x + (torch.round(x) - x).detach()


def full_range(weight: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Smallest and largest weight of every row or group, 0 included, ``[m, groups]``."""
    groups = grid.grouped(weight)
    return groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)


def range_ends(weight: Tensor, grid: Grid, bounds: Bounds, hessian: Tensor) -> tuple[Tensor, Tensor]:
    """A range member's choice for every row or group, 0 included: ``low <= 0 <= high``, ``[m, groups]``."""
    blocks = diagonal_blocks(hessian, grid.width(weight.shape[1]))
    low, high = bounds(grid.grouped(weight), grid, blocks)
    return low.clamp(max=0), high.clamp(min=0)


def soft_grid(low: Tensor, high: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Scale and zero with exactly the values of :meth:`Grid.from_bounds`, differentiable in both ends."""
    scale, zero = grid.from_bounds(low.detach(), high.detach())
    centred = grid.symmetric or grid.half_integer
    span = (2 * torch.maximum(-low, high) if centred else high - low) / grid.q_max
    scale = scale + (span - span.detach())
    if not centred:
        soft = -low / scale
        zero = zero + (soft - soft.detach())
    return scale, zero


def soft_quantize(
    weight: Tensor,
    ends: tuple[Tensor, Tensor],
    grid: Grid,
    offset: Tensor | None = None,
    channel_scale: Tensor | None = None,
) -> Tensor:
    """The weight ``[m, n]`` on the grid of ``ends``, straight-through; ``offset`` shifts the rounding.

    With a ``channel_scale [n]`` it is ``W diag(s)`` that is on the grid, and what is returned has ``1 / s`` undone.
    """
    weight = weight if channel_scale is None else weight * channel_scale
    scale, zero = (value.unsqueeze(-1) for value in soft_grid(*ends, grid))
    steps = grid.grouped(weight) / scale
    codes = grid.codes(steps if offset is None else steps + grid.grouped(offset), zero, ste_round)
    values = (scale * (codes - zero)).flatten(1)
    return values if channel_scale is None else values / channel_scale


def block_loss(block: nn.Module, weights: Weights, item: BlockInput, target: Tensor) -> Tensor:
    """Mean squared error of the block's output with ``weights`` in place of its own."""
    replaced = fuse({f"{name}.weight": weight for name, weight in weights.items()})
    autocast = torch.autocast("cuda", torch.bfloat16) if item.hidden.is_cuda else nullcontext()
    with autocast:
        out = functional_call(block, replaced, (item.hidden,), item.kwargs)
    out = out[0] if isinstance(out, tuple) else out
    return (out.float() - target.float()).square().mean()


@torch.no_grad()
def total_loss(block: nn.Module, weights: Weights, inputs: Sequence[BlockInput], targets: Sequence[Tensor]) -> float:
    """Mean of the loss over all micro-batches."""
    losses = [block_loss(block, weights, item, target) for item, target in zip(inputs, targets, strict=True)]
    return torch.stack(losses).mean().item()


def resplit(
    inputs: Sequence[BlockInput], targets: Sequence[Tensor], size: int
) -> tuple[list[BlockInput], list[Tensor]]:
    """The same sequences in micro-batches of at most ``size``; keyword tensors with a batch axis follow."""
    items, outputs = [], []
    for item, target in zip(inputs, targets, strict=True):
        count = len(item.hidden)
        for start in range(0, count, size):
            rows = slice(start, start + size)
            kwargs = {key: _rows(value, rows, count) for key, value in item.kwargs.items()}
            items.append(BlockInput(item.hidden[rows], kwargs))
            outputs.append(target[rows])
    return items, outputs


def _rows(value: Any, rows: slice, count: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_rows(part, rows, count) for part in value)
    if isinstance(value, Tensor) and value.dim() > 1 and len(value) == count > 1:
        return value[rows]
    return value


class Best:
    """The best parameters seen, by total loss."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = parameters
        self.loss = self.first = float("inf")
        self.state: list[Tensor] = [parameter.detach().clone() for parameter in parameters]

    def offer(self, loss: float) -> None:
        """Keep a copy of the parameters if ``loss`` is the smallest so far (NaN never is); the first is noted."""
        self.first = loss if self.first == float("inf") else self.first
        if loss < self.loss:
            self.loss, self.state = loss, [parameter.detach().clone() for parameter in self.parameters]

    def restore(self) -> None:
        """Put the best parameters back."""
        for parameter, value in zip(self.parameters, self.state, strict=True):
            parameter.data.copy_(value)


@fast_mamba()
def descend(
    block: nn.Module,
    weights: Callable[[], Weights],
    inputs: Sequence[BlockInput],
    targets: Sequence[Tensor],
    update: Callable[[int], None],
    best: Best,
    steps: int,
    check_every: int,
    seed: int,
) -> None:
    """Run ``steps`` gradient steps on shuffled micro-batches; ``update(step)`` applies and clears the gradients.

    The total loss is offered to ``best`` before the first step, every ``check_every`` steps and after the last.
    """
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    with torch.no_grad():
        best.offer(total_loss(block, weights(), inputs, targets))
    for step in range(steps):
        order = order or torch.randperm(len(inputs), generator=generator).tolist()
        index = order.pop()
        with torch.enable_grad():
            block_loss(block, weights(), inputs[index], targets[index]).backward()
        update(step)
        if (step + 1) % check_every == 0 or step + 1 == steps:
            with torch.no_grad():
                best.offer(total_loss(block, weights(), inputs, targets))
    best.restore()
