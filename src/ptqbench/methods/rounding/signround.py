"""SignRound, the learned rounding of AutoRound (arXiv 2309.05516): an offset per weight by sign gradient descent.

``code = clamp(round(w / scale + V) + zero)`` with ``V`` in [-1/2, 1/2], and the range's ends drawn in by factors in
[1/2, 1]. All start at nearest rounding on the range that the recipe's range member chose (the full one by default),
and the best state is kept, so no block ends up worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ptqbench.kernels.fake import soft_grid
from ptqbench.methods.contracts import Facts, Learner, Rounding, parameter
from ptqbench.methods.problem import Problem, Rounded
from ptqbench.methods.trained import Start, Trained
from ptqbench.methods.training.descent import Best, Weights, apart, descend, flat, on_grid
from ptqbench.models.stream import BlockInput
from ptqbench.numbers.grid import Grid

CHECKS = 10  # how often the total loss is taken along the way


@dataclass(frozen=True)
class Signround(Rounding, Learner):
    """``iterations`` steps on batches of ``batch_size`` sequences."""

    STRATEGY: ClassVar = "optimization"
    PROPAGATES: ClassVar = True
    NEEDS: ClassVar[Facts] = {"free_range": {}}

    iterations: int = parameter(200, minimum=1, maximum=100000)
    batch_size: int = parameter(8, minimum=1, maximum=65536)
    seed: int = parameter(0, minimum=0, maximum=4294967295)

    def learn(
        self,
        block: nn.Module,
        start: Start,
        inputs: list[BlockInput],
        targets: list[Tensor],
        grid: Grid,
    ) -> Trained:
        """Train offsets ``V [m, n]`` and factors of both ends ``[m, groups]`` of every linear on the block's output."""
        offset = {linear: torch.zeros_like(weight).requires_grad_() for linear, weight in start.weights.items()}
        low, high = flat(start.ends)
        factors = [torch.ones_like(end).requires_grad_() for end in (low, high)]
        parameters = [*offset.values(), *factors]

        def drawn_in() -> tuple[Tensor, Tensor]:
            return low * factors[0], high * factors[1]

        def weights() -> Weights:
            return on_grid(start.weights, soft_grid(*drawn_in(), grid), grid, start.bases, offset)

        def update(step: int) -> None:
            rate = (1 - step / self.iterations) / self.iterations
            with torch.no_grad():
                for parameter in parameters:
                    assert parameter.grad is not None
                    parameter -= rate * parameter.grad.sign()
                    parameter.grad = None
                for value in offset.values():
                    value.clamp_(-0.5, 0.5)
                for factor in factors:
                    factor.clamp_(0.5, 1.0)

        best = Best(parameters)
        descend(
            block,
            weights,
            inputs,
            targets,
            update,
            best,
            self.batch_size,
            self.iterations,
            max(1, self.iterations // CHECKS),
            self.seed,
        )
        with torch.no_grad():
            bounds = apart(drawn_in(), start.ends)
        fixed = {linear: value.detach() for linear, value in offset.items()}
        return Trained(bounds, fixed, {"nearest_loss": best.first, "learned_loss": best.loss})

    def round_site(self, problem: Problem) -> Rounded:
        """Codes of the learned grid and offsets, which :func:`learn` decided."""
        assert problem.offset is not None
        scale, zero = problem.fit()
        grid = problem.grid
        weight, offset = grid.grouped(problem.weight), grid.grouped(problem.offset)
        codes = grid.encode(weight, scale.unsqueeze(-1), zero.unsqueeze(-1), offset)
        return Rounded(codes.flatten(1), scale, zero)
