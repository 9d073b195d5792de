"""SpinQuant (arXiv 2405.16406): R1 and R2 learned by Cayley descent from a randomized Hadamard.

``objective: block`` (default) descends the rounding error itself, ``tr(ΔW H ΔWᵀ)`` of nearest rounding in the rotated
basis, from cached statistics: no forward pass. A step takes one block, or so many more that all have had one by the
last step. ``objective: cross_entropy`` is the paper's, with nearest rounding in the graph, since rotations alone do not
change a weight-only model's loss; it holds the whole model, and a step takes one sequence.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ptqbench.errors import UserError
from ptqbench.kernels.fake import soft_grid
from ptqbench.linalg.orthogonal import as_matrix
from ptqbench.linalg.proxy import proxy_loss
from ptqbench.linalg.rotations import Rotations
from ptqbench.methods.contracts import Facts, StreamTransform, WholeModel, parameter
from ptqbench.methods.rotate import rotate_block, rotate_outside
from ptqbench.methods.state import BlockState
from ptqbench.methods.trained import full_range
from ptqbench.methods.training.descent import soft_quantize
from ptqbench.methods.transforms.rotation_hadamard import RotationHadamard
from ptqbench.numbers.grid import Grid
from ptqbench.progress import progress_bar

LOOKS = 4  # at the loss of all blocks on the way, at least: what they cost is a fraction of the steps


@dataclass(frozen=True)
class RotationLearned(StreamTransform):
    """``steps`` of Cayley descent at ``rate`` (with a cosine) on an ``objective``."""

    STRATEGY: ClassVar = "rotation"
    ALSO: ClassVar = "optimization"
    SCATTERS: ClassVar = False
    READS_STATISTICS: ClassVar = True  # while it learns, before any block is quantized
    NEEDS: ClassVar[Facts] = {
        "model_basis": {},
        "model_weight": {},
        "unturned_stream": {},
        "rms_norms": {},
        "text": {"objective": "cross_entropy"},
    }
    BREAKS: ClassVar[Facts] = {"unturned_stream": {}, "max_abs": {}}

    steps: int = parameter(120, minimum=1, maximum=100000)
    rate: float = parameter(1.0, exclusiveMinimum=0, maximum=100)
    objective: Literal["block", "cross_entropy"] = parameter("block")
    seed: int = parameter(0, minimum=0, maximum=4294967295)

    def rotations(self, model: WholeModel) -> Rotations:
        """Learn R1 ``[d, d]`` and each block's R2 ``[head_dim, head_dim]``, float64; the best state is kept.

        Raises :class:`UserError` for the objective cross_entropy on a model that sees.
        """
        start = RotationHadamard(seed=self.seed).rotations(model)
        if self.objective == "cross_entropy":
            if model.checkpoint.adapter.text:
                raise UserError(
                    "transform rotation learned: objective cross_entropy needs a model of text: choose block"
                )
            return learn(model, start, self.steps, self.rate, whole_model(model), whole=True)
        scale = {index: rounding_loss(model.state(index), model.grid).item() for index in model.stream}

        def loss(rotations: Rotations, part: int) -> Tensor:
            index = model.stream[part % len(model.stream)]
            state = model.state(index)
            rotate_block(state, rotations.r1, rotations.r2[index])
            return rounding_loss(state, model.grid) / max(scale[index], 1e-30)

        return learn(model, start, self.steps, self.rate, loss, whole=False)


def learn(
    model: WholeModel,
    start: Rotations,
    steps: int,
    rate: float,
    loss: Callable[[Rotations, int], Tensor],
    whole: bool,
) -> Rotations:
    """Cayley descent with a cosine rate; the state of least loss over all blocks, of those looked at, is returned.

    ``loss(rotations, part)`` is that of one part: a block, or where the model is run ``whole`` a sequence. Looked at
    are the first state, those of :func:`schedule`, and the last.
    """
    device = model.device
    current = replace(start, r1=as_matrix(start.r1)).to(device)
    around = 1 if whole else len(model.stream)
    span, every = schedule(around, steps)
    best, best_loss = current, _round_loss(loss, current, around)
    first = best_loss
    with progress_bar("learned rotation: step", total=steps) as bar:
        for step in range(steps):
            moved = [matrix.requires_grad_() for matrix in current.matrices()]
            gradients = _gradients(loss, current, moved, range(step * span, (step + 1) * span))
            now = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            current = current.with_matrices(cayley_step(r, g, now) for r, g in zip(moved, gradients, strict=True))
            look = (step + 1) % every == 0 or step + 1 == steps
            if look and (here := _round_loss(loss, current, around)) < best_loss:
                best, best_loss = current, here
            bar(1, f"loss {best_loss:.4f}")
    found = best.with_matrices(matrix.detach() for matrix in best.matrices()).to(torch.device("cpu"))
    return replace(found, record={"first_loss": first, "loss": best_loss})


def schedule(around: int, steps: int) -> tuple[int, int]:
    """Parts that a step takes, and steps from one look at the loss of all ``around`` parts to the next.

    All parts are taken at least once. A look costs as much as ``around`` parts, so that there is one a round, or
    ``LOOKS`` where rounds are fewer.
    """
    return -(-around // max(steps, 1)), max(1, min(around, -(-steps // LOOKS)))


def cayley_step(rotation: Tensor, gradient: Tensor | None, rate: float) -> Tensor:
    """One step on the orthogonal group, float64: ``Y = (I - tA/2)⁻¹ (I + tA/2) R``, ``A`` the skew part of ``-G Rᵀ``.

    ``t = rate / ‖A‖₁`` makes the step independent of the loss's scale; the exact solve keeps R orthogonal to rounding.
    """
    if gradient is None:
        return rotation.detach()
    rotation = rotation.detach()
    product = -gradient @ rotation.T
    skew = (product - product.T) / 2
    size = torch.linalg.matrix_norm(skew, 1) + 1e-8 * torch.linalg.matrix_norm(product, 1)  # noise is no direction
    half = rate / 2 * skew / size.clamp(min=1e-30)
    identity = torch.eye(len(rotation), dtype=rotation.dtype, device=rotation.device)
    return torch.linalg.solve(identity - half, (identity + half) @ rotation)


def rounding_loss(state: BlockState, grid: Grid) -> Tensor:
    """Proxy loss of a block under nearest rounding; codes are constants, so this is its gradient almost everywhere."""
    total = torch.zeros((), dtype=torch.float64, device=state.stacked(state.sites[0]).device)
    for site in (site for site in state.sites if site.linears):
        weight = state.stacked(site)
        scale, zero = (value.unsqueeze(-1) for value in soft_grid(*full_range(weight, grid), grid))
        groups = grid.grouped(weight)
        codes = grid.encode(groups, scale, zero).detach()
        values = grid.decode(codes, scale, zero.detach()).flatten(1)
        total = total + proxy_loss(weight - values, state.statistics[site.name].hessian).sum()
    return total


def whole_model(model: WholeModel) -> Callable[[Rotations, int], Tensor]:
    """The cross-entropy of the model with every linear rotated and rounded to nearest, on one calibration sequence."""
    from torch.func import functional_call

    from ptqbench.models.experts import fuse, make_watchable
    from ptqbench.models.load import load_whole

    tokens = model.tokens.to(model.device)
    network = load_whole(model.checkpoint, torch.float32).to(model.device)
    network.requires_grad_(False)
    make_watchable(network)
    adapter = model.checkpoint.adapter

    def loss(rotations: Rotations, part: int) -> Tensor:
        tensors = dict(network.named_parameters())
        rotate_outside(tensors, adapter, rotations.r1)
        for index in range(model.n_blocks):
            state = model.state(index)
            rotate_block(state, rotations.r1, rotations.r2[index])
            for name, tensor in state.tensors.items():
                tensors[adapter.prefix(index) + name] = tensor
            for linear in (linear for site in state.sites for linear in site.linears):
                weight = state.weight(linear)
                tensors[f"{adapter.prefix(index)}{linear}.weight"] = soft_quantize(
                    weight, full_range(weight, model.grid), model.grid
                )
        batch = tokens[part % len(tokens)].unsqueeze(0)
        inputs = {"input_ids": batch, "labels": batch, "use_cache": False}
        # a tied head is rotated to another matrix than the embedding
        return functional_call(network, fuse(tensors), (), inputs, tie_weights=False).loss

    return loss


@torch.no_grad()
def _round_loss(loss: Callable[[Rotations, int], Tensor], rotations: Rotations, around: int) -> float:
    return sum(loss(rotations, part).item() for part in range(around)) / around


def _gradients(
    loss: Callable[[Rotations, int], Tensor], rotations: Rotations, moved: list[Tensor], parts: range
) -> list[Tensor | None]:
    """Of the sum over parts, one part's graph at a time; None for what none of them reads."""
    total: list[Tensor | None] = [None] * len(moved)
    for part in parts:
        found = torch.autograd.grad(loss(rotations, part), moved, allow_unused=True)
        total = [
            new if old is None else old if new is None else old + new for old, new in zip(total, found, strict=True)
        ]
    return total
