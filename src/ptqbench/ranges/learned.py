"""OmniQuant's learnable weight clipping (arXiv 2308.13137, section 3.2): each range's ends, trained block by block.

Unlike the reference, the best state is kept and not the last, and a block whose training does not beat the full range
keeps the full range.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ptqbench.models.skeleton import BlockInput
from ptqbench.quantize.grid import Grid
from ptqbench.quantize.learning import Best, Ends, Learned, Weights, descend, resplit, soft_quantize, total_loss
from ptqbench.quantize.state import BlockState

STRATEGY = "optimization"
PROPAGATES = True
LEARNS = True
DEFAULTS = {"epochs": 20, "learning_rate": 0.01, "batch_size": 1, "seed": 0}
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
    """Train ``low = σ(β) min w`` and ``high = σ(γ) max w`` of every row or group on the block's output."""
    linears = [linear for site in state.sites for linear in site.linears]
    clips = {linear: [torch.full_like(end, START).requires_grad_() for end in ends[linear]] for linear in linears}
    parameters = [clip for pair in clips.values() for clip in pair]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)

    def drawn_in(linear: str) -> tuple[Tensor, Tensor]:
        (low, high), (beta, gamma) = ends[linear], clips[linear]
        return low * torch.sigmoid(beta), high * torch.sigmoid(gamma)

    def quantized(linear: str, bounds: tuple[Tensor, Tensor]) -> Tensor:
        return soft_quantize(state.weight(linear), bounds, grid, channel_scale=state.scale_of(linear))

    def weights() -> Weights:
        return {linear: quantized(linear, drawn_in(linear)) for linear in linears}

    def update(step: int) -> None:
        optimizer.step()
        optimizer.zero_grad()

    full = {linear: quantized(linear, ends[linear]) for linear in linears}
    full_loss = total_loss(block, full, inputs, targets)
    best = Best(parameters)
    inputs, targets = resplit(inputs, targets, batch_size)
    descend(block, weights, inputs, targets, update, best, epochs * len(inputs), len(inputs), seed)
    kept = best.loss < full_loss
    with torch.no_grad():
        bounds = {linear: drawn_in(linear) if kept else ends[linear] for linear in linears}
    return Learned(bounds, record={"full_range_loss": full_loss, "learned_loss": best.loss, "kept": kept})
