"""OmniQuant's learnable weight clipping (arXiv 2308.13137, section 3.2): each range's ends, trained block by block.

Unlike the reference, the best state is kept and not the last, and a block whose training does not beat the full range
keeps the full range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ptqbench.kernels.fake import narrow, soft_grid
from ptqbench.methods.contracts import Facts, Learner, parameter
from ptqbench.methods.trained import Start, Trained
from ptqbench.methods.training.descent import Best, Weights, apart, descend, flat, on_grid, total_loss
from ptqbench.models.stream import BlockInput
from ptqbench.numbers.grid import Grid

CHECKS = 5  # how often, at most, the total loss is taken along the way (once an epoch where epochs are fewer)
START = 4.0  # sigmoid(4) = 0.982: near the full range, where the gradient is not yet flat


@dataclass(frozen=True)
class Learned(Learner):
    """``epochs`` over the calibration set, in batches of ``batch_size`` sequences."""

    STRATEGY: ClassVar = "optimization"
    PROPAGATES: ClassVar = True
    BREAKS: ClassVar[Facts] = {"free_range": {}}

    epochs: int = parameter(20, minimum=1, maximum=1000)
    learning_rate: float = parameter(0.01, exclusiveMinimum=0, maximum=10)
    batch_size: int = parameter(1, minimum=1, maximum=65536)
    seed: int = parameter(0, minimum=0, maximum=4294967295)

    def learn(
        self,
        block: nn.Module,
        start: Start,
        inputs: list[BlockInput],
        targets: list[Tensor],
        grid: Grid,
    ) -> Trained:
        """Train ``low = σ(β) min w`` and ``high = σ(γ) max w`` of every row or group on the block's output.

        The state kept is the best of those at which the total loss was taken: the first, and at most ``CHECKS`` later
        ones.
        """
        weights, low, high = start.weights, *flat(start.ends)
        clips = [torch.full_like(low, START).requires_grad_() for _ in range(2)]
        optimizer = torch.optim.AdamW(clips, lr=self.learning_rate, weight_decay=0.0, fused=low.is_cuda)
        if low.is_cuda:
            weights = {linear: narrow(weight) for linear, weight in weights.items()}

        def drawn_in() -> tuple[Tensor, Tensor]:
            return low * torch.sigmoid(clips[0]), high * torch.sigmoid(clips[1])

        def quantized(bounds: tuple[Tensor, Tensor]) -> Weights:
            return on_grid(weights, soft_grid(*bounds, grid), grid, start.bases)

        def update(step: int) -> None:
            optimizer.step()
            optimizer.zero_grad()

        full_loss = total_loss(block, quantized((low, high)), inputs, targets)
        best = Best(clips)
        epoch = sum(math.ceil(len(target) / self.batch_size) for target in targets)  # steps
        steps = self.epochs * epoch
        every = check_every(steps, epoch)
        descend(
            block,
            lambda: quantized(drawn_in()),
            inputs,
            targets,
            update,
            best,
            self.batch_size,
            steps,
            every,
            self.seed,
        )
        kept = best.loss < full_loss
        with torch.no_grad():
            bounds = apart(drawn_in(), start.ends) if kept else start.ends
        return Trained(bounds, record={"full_range_loss": full_loss, "learned_loss": best.loss, "kept": kept})


def check_every(steps: int, epoch: int) -> int:
    """Steps from one look at the total loss to the next: an epoch, or more where those were over ``CHECKS`` looks."""
    return max(epoch, math.ceil(steps / CHECKS))
