"""Mamba's selective scan, differentiable at one fused step per position, where transformers unrolls its graph.

The recurrence ``h_t = a_t h_{t-1} + b_t`` has a recurrence for a gradient: ``g_t = ∂y_t + a_{t+1} g_{t+1}``,
``∂b_t = g_t``, ``∂a_t = g_t h_{t-1}``. So nothing but ``a`` and ``h`` is kept, and each position costs one kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, decay: Tensor, inflow: Tensor) -> Tensor:
        states = torch.empty_like(inflow)
        states[0] = inflow[0]
        for t in range(1, len(inflow)):
            torch.addcmul(inflow[t], decay[t], states[t - 1], out=states[t])
        ctx.save_for_backward(decay, states)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,) = gradients
        decay, states = ctx.saved_tensors
        total = torch.empty_like(states)
        total[-1] = gradient[-1]
        for t in range(len(states) - 2, -1, -1):
            torch.addcmul(gradient[t], decay[t + 1], total[t + 1], out=total[t])
        moved = torch.zeros_like(decay)
        torch.mul(total[1:], states[:-1], out=moved[1:])
        return moved, total


def recurrence(decay: Tensor, inflow: Tensor) -> Tensor:
    """``h_t = decay_t h_{t-1} + inflow_t`` from ``h_{-1} = 0``, along the first axis, elementwise."""
    return _Recurrence.apply(decay, inflow)


def selective_scan(u: Tensor, step: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """``y_t = c_t · h_t`` with ``h_t = exp(step_t a) h_{t-1} + step_t u_t b_t`` (arXiv 2312.00752, algorithm 2).

    ``u`` and ``step`` are ``[t, batch, d]``, ``a`` is ``[d, s]``, ``b`` and ``c`` are ``[t, batch, s]``; all float32.
    """
    decay = torch.exp(step.unsqueeze(-1) * a)
    states = recurrence(decay, (step * u).unsqueeze(-1) * b.unsqueeze(-2))
    return (states @ c.unsqueeze(-1)).squeeze(-1)


def mix(mixer: Any, hidden: Tensor) -> Tensor:
    """The forward pass of transformers' ``MambaMixer`` without a cache, for ``hidden [batch, t, d]``."""
    length = hidden.shape[1]
    inner, gate = mixer.in_proj(hidden).chunk(2, dim=-1)
    inner = mixer.act(mixer.conv1d(inner.transpose(1, 2))[..., :length]).transpose(1, 2)
    sizes = [mixer.time_step_rank, mixer.ssm_state_size, mixer.ssm_state_size]
    step, b, c = mixer.x_proj(inner).split(sizes, dim=-1)
    step = mixer.dt_proj(step)
    with torch.autocast(hidden.device.type, enabled=False):
        u, step, b, c = (part.float().transpose(0, 1) for part in (inner, F.softplus(step.float()), b, c))
        out = selective_scan(u, step, -torch.exp(mixer.A_log.float()), b, c) + u * mixer.D.float()
    return mixer.out_proj((out.transpose(0, 1) * F.silu(gate)).to(gate.dtype))


@contextmanager
def fast_mamba() -> Iterator[None]:
    """Let transformers' Mamba run through :func:`mix` while the context is open."""
    from transformers.models.mamba.modeling_mamba import MambaMixer

    def forward(mixer: Any, hidden_states: Tensor, *_: Any, **kwargs: Any) -> Tensor:
        return mix(mixer, hidden_states)

    with patch.object(MambaMixer, "forward", forward):
        yield
