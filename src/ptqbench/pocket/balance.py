"""Training of mixtures: every expert on every token in two matrix products, and a loss that balances their traffic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

NAME = "ptqbench_balanced"


class WithLoss(torch.autograd.Function):
    """``WithLoss.apply(out, loss)`` is ``out``; whatever is made of it, ``loss`` is descended too."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, loss: Tensor) -> Tensor:
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return gradient, torch.ones((), device=gradient.device)


def balance_loss(logits: Tensor, index: Tensor) -> Tensor:
    """Switch's ``E Σ f_e P_e`` (arXiv 2101.03961, equations 4 to 6): 1 when all experts get the same, more otherwise.

    ``f_e`` is the share of choices ``index [tokens, top_k]`` that fall on an expert, ``P_e`` its mean probability.
    """
    n_experts = logits.shape[-1]
    chosen = F.one_hot(index, n_experts).float().mean((0, 1))
    return n_experts * (chosen * logits.float().softmax(-1).mean(0)).sum()


def dense_experts(self: Any, hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """All experts on all tokens, weighted by what the router gave: exact, and no shape depends on the routing."""
    n_experts, d = self.down_proj.shape[:2]
    share = hidden.new_zeros(len(hidden), n_experts).scatter(1, index, weights.to(hidden.dtype))
    both = F.linear(hidden, self.gate_up_proj.flatten(0, 1)).unflatten(1, (n_experts, -1))
    scaled = self._apply_gate(both) * share.unsqueeze(-1)
    out = scaled.flatten(1) @ self.down_proj.transpose(1, 2).reshape(-1, d)
    if self.training:
        logits = F.linear(hidden, self.balanced_router[0].weight)
        out = WithLoss.apply(out, self.balance * balance_loss(logits, index))
    return out.to(hidden.dtype)


ALL_EXPERTS_FUNCTIONS.register(NAME, dense_experts)


@contextmanager
def balanced(model: nn.Module, balance: float) -> Iterator[None]:
    """Inside, the mixtures of ``model`` compute as above, the loss of each block times ``balance``."""
    mixtures: list[Any] = [
        module for module in model.modules() if hasattr(getattr(module, "experts", None), "down_proj")
    ]
    if not mixtures:
        yield
        return
    for module in mixtures:
        module.experts.balance = balance
        module.experts.balanced_router = (module.gate,)  # in a tuple, so that it is no submodule of the experts
    before = model.config._experts_implementation  # type: ignore[union-attr]
    model.set_experts_implementation(NAME)  # type: ignore[operator]
    try:
        yield
    finally:
        model.set_experts_implementation(before)  # type: ignore[operator]
