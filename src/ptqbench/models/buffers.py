"""Buffers that no checkpoint holds (rotary frequencies, the numbers of positions) in a model that is made on meta."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel


@torch.no_grad()
def rebuild_buffers(model: PreTrainedModel, module: nn.Module, device: torch.device) -> None:
    """Compute those of ``module``, which is in ``model`` or is it, by the model's own ``_init_weights``.

    So transformers does it once it has read a checkpoint. Weights beside them must still be on meta.
    """
    for owner, part in owned(model, module):
        buffers = {name: buffer for name, buffer in part._buffers.items() if name in part._non_persistent_buffers_set}
        lost = {name: buffer for name, buffer in buffers.items() if buffer is not None and buffer.is_meta}
        if lost:
            part._buffers.update({name: torch.empty_like(buffer, device=device) for name, buffer in lost.items()})
            owner._init_weights(part)


def owned(owner: PreTrainedModel, module: nn.Module) -> list[tuple[PreTrainedModel, nn.Module]]:
    """Every module in ``module`` with the innermost transformers model around it."""
    own = module if isinstance(module, PreTrainedModel) else owner
    return [(own, module), *(pair for child in module.children() for pair in owned(own, child))]
