"""OmniQuant's learnable weight clipping (arXiv 2308.13137, section 3.2): each range's ends, trained block by block.

Unlike the reference, the best state is kept and not the last, and a block whose training does not beat the full range
keeps the full range.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ptqbench.kernels.fake import narrow, soft_grid
from ptqbench.methods.learned import Ends, Learned
from ptqbench.methods.state import BlockState
from ptqbench.methods.training.descent import Best, Weights, apart, descend, flat, on_grid, total_loss
from ptqbench.models.stream import BlockInput
from ptqbench.numbers.grid import Grid

STRATEGY = "optimization"
PROPAGATES = True
NEEDS: dict = {"model_basis": {}}
BREAKS: dict = {"free_range": {}}
DEFAULTS = {"epochs": 20, "learning_rate": 0.01, "batch_size": 1, "seed": 0}
PARAMETERS = {
    "epochs": {"type": "integer", "minimum": 1, "maximum": 1000},
    "learning_rate": {"type": "number", "exclusiveMinimum": 0, "maximum": 10},
    "batch_size": {"type": "integer", "minimum": 1, "maximum": 65536},
    "seed": {"type": "integer", "minimum": 0, "maximum": 4294967295},
}
CHECKS = 5  # how often, at most, the total loss is taken along the way (once an epoch where epochs are fewer)
START = 4.0  # sigmoid(4) = 0.982: near the full range, where the gradient is not yet flat


def learn(
    block: nn.Module,
    state: BlockState,
    inputs: list[BlockInput],
    targets: list[Tensor],
    grid: Grid,
    ends: Ends,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    seed: int,
) -> Learned:
    """Train ``low = σ(β) min w`` and ``high = σ(γ) max w`` of every row or group on the block's output.

    The state kept is the best of those at which the total loss was taken: the first, and at most ``CHECKS`` later ones.
    """
    linears = [linear for site in state.sites for linear in site.linears]
    weights = {linear: state.weight(linear) for linear in linears}
    ends = {linear: ends[linear] for linear in linears}
    low, high = flat(ends)
    clips = [torch.full_like(low, START).requires_grad_() for _ in range(2)]
    optimizer = torch.optim.AdamW(clips, lr=learning_rate, weight_decay=0.0, fused=low.is_cuda)
    if low.is_cuda:
        weights = {linear: narrow(weight) for linear, weight in weights.items()}

    def drawn_in() -> tuple[Tensor, Tensor]:
        return low * torch.sigmoid(clips[0]), high * torch.sigmoid(clips[1])

    def quantized(bounds: tuple[Tensor, Tensor]) -> Weights:
        return on_grid(weights, soft_grid(*bounds, grid), grid, state.scale_of)

    def update(step: int) -> None:
        optimizer.step()
        optimizer.zero_grad()

    full_loss = total_loss(block, quantized((low, high)), inputs, targets)
    best = Best(clips)
    epoch = sum(math.ceil(len(target) / batch_size) for target in targets)  # steps
    steps = epochs * epoch
    every = check_every(steps, epoch)
    descend(block, lambda: quantized(drawn_in()), inputs, targets, update, best, batch_size, steps, every, seed)
    kept = best.loss < full_loss
    with torch.no_grad():
        bounds = apart(drawn_in(), ends) if kept else ends
    return Learned(bounds, record={"full_range_loss": full_loss, "learned_loss": best.loss, "kept": kept})


def check_every(steps: int, epoch: int) -> int:
    """Steps from one look at the total loss to the next: an epoch, or more where those were over ``CHECKS`` looks."""
    return max(epoch, math.ceil(steps / CHECKS))
