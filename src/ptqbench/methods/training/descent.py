"""Train the quantization of one block on its output, with straight-through rounding; the best state is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import mse_loss

from ptqbench.kernels.fake import fake_quantize, fake_quantize_plain, soft_grid
from ptqbench.linalg.basis import Basis
from ptqbench.methods.trained import Ends
from ptqbench.methods.training.norms import fast_norms
from ptqbench.methods.training.scan import fast_mamba
from ptqbench.models.experts import fuse
from ptqbench.models.stream import BlockInput, Call, output
from ptqbench.numbers.grid import Grid

Weights = dict[str, Tensor]  # linear to its weight as quantized, differentiable


def soft_quantize(weight: Tensor, ends: tuple[Tensor, Tensor], grid: Grid) -> Tensor:
    """The weight ``[m, n]`` on the grid of ``ends``, straight-through; the weight gets gradients too."""
    return fake_quantize_plain(weight, *soft_grid(*ends, grid), None, grid)


def on_grid(
    weights: Weights,
    soft: tuple[Tensor, Tensor],
    grid: Grid,
    bases: dict[str, Basis],
    offsets: Weights | None = None,
) -> Weights:
    """The model's weights ``[m, n]``, for :func:`block_loss`, of those in ``bases`` on a grid.

    The grid is that of flat scale and zero as :func:`flat` makes them; ``offsets`` shift the rounding.
    """
    shifts = None if offsets is None else [offsets[name] for name in weights]
    values = fake_quantize(list(weights.values()), *soft, shifts, grid)
    return {name: bases[name].back(value) for name, value in zip(weights, values, strict=True)}


def flat(ends: Ends) -> tuple[Tensor, Tensor]:
    """All linears' low ends, and their high ends, in one tensor each: one operation for all at every step."""
    low, high = (torch.cat([pair[side].flatten() for pair in ends.values()]) for side in range(2))
    return low, high


def apart(both: tuple[Tensor, Tensor], like: Ends) -> Ends:
    """The inverse of :func:`flat`, in the shapes of ``like``."""
    sizes = [low.numel() for low, _ in like.values()]
    pairs = zip(*(side.split(sizes) for side in both), strict=True)
    return {
        name: (low.view(end.shape), high.view(end.shape))
        for (name, (end, _)), (low, high) in zip(like.items(), pairs, strict=True)
    }


def block_loss(block: nn.Module, weights: Weights, item: BlockInput, target: Tensor) -> Tensor:
    """Mean squared error of the block's output with ``weights`` in place of its own."""
    replaced = fuse({f"{name}.weight": weight for name, weight in weights.items()})
    hidden = item.hidden.to(next(iter(weights.values())).device, non_blocking=True)  # where they are many, on the host
    autocast = torch.autocast("cuda", torch.bfloat16) if hidden.is_cuda else nullcontext()
    with autocast:
        out = functional_call(block, replaced, (hidden, *item.call.args), item.call.kwargs)
    return mse_loss(output(out).float(), target.float())


@fast_mamba()
@torch.no_grad()
def total_loss(block: nn.Module, weights: Weights, inputs: Sequence[BlockInput], targets: Sequence[Tensor]) -> float:
    """Mean of the loss over all sequences."""
    pairs = list(zip(inputs, targets, strict=True))
    with fast_norms(block):
        losses = [block_loss(block, weights, item, target) * len(target) for item, target in pairs]
    return torch.stack(losses).sum().item() / sum(len(target) for target in targets)


def resplit(
    inputs: Sequence[BlockInput], targets: Sequence[Tensor], size: int
) -> tuple[list[BlockInput], list[Tensor]]:
    """The same sequences in micro-batches of at most ``size``; tensors of the call that have a batch axis follow."""
    items, outputs = [], []
    for item, target in zip(inputs, targets, strict=True):
        count = len(item.hidden)
        for start in range(0, count, size):
            rows = slice(start, start + size)
            call = Call(*(_rows(part, rows, count) for part in item.call))
            items.append(BlockInput(item.hidden[rows], (call,)))
            outputs.append(target[rows])
    return items, outputs


def _rows(value: Any, rows: slice, count: int) -> Any:
    if isinstance(value, dict):
        return {key: _rows(part, rows, count) for key, part in value.items()}
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
@torch.no_grad()
def descend(
    block: nn.Module,
    weights: Callable[[], Weights],
    inputs: Sequence[BlockInput],
    targets: Sequence[Tensor],
    update: Callable[[int], None],
    best: Best,
    batch_size: int,
    steps: int,
    check_every: int,
    seed: int,
) -> None:
    """Run ``steps`` gradient steps on shuffled micro-batches of ``batch_size``; ``update(step)`` applies the gradients.

    The total loss is offered to ``best`` before the first step, every ``check_every`` steps and after the last; it is
    taken on the micro-batches as they came, which may be larger.
    """
    items, outputs = resplit(inputs, targets, batch_size)
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    with fast_norms(block):
        best.offer(total_loss(block, weights(), inputs, targets))
        for step in range(steps):
            order = order or torch.randperm(len(items), generator=generator).tolist()
            index = order.pop()
            with torch.enable_grad():
                block_loss(block, weights(), items[index], outputs[index]).backward()
            update(step)
            if (step + 1) % check_every == 0 or step + 1 == steps:
                best.offer(total_loss(block, weights(), inputs, targets))
    best.restore()
