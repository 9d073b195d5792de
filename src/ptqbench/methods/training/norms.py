"""RMSNorm as one kernel each way, where transformers' takes six passes over the hidden states and twice that back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm


def normalize(norm: Any, hidden: Tensor) -> Tensor:
    """``weight · x / rms(x)`` in the dtype of ``hidden [..., n]``; transformers rounds once more before scaling."""
    with torch.autocast(hidden.device.type, enabled=False):
        return rms_norm(hidden, hidden.shape[-1:], norm.weight.to(hidden.dtype), norm.variance_epsilon)


def is_plain(module: nn.Module) -> bool:
    """Whether a module is the RMSNorm of Llama and its relatives; others (Gemma's ``1 + weight``) have other names."""
    return type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon")


@contextmanager
def fast_norms(block: nn.Module) -> Iterator[None]:
    """Let the RMSNorms of a block run through :func:`normalize` while the context is open."""
    with ExitStack() as stack:
        for module in filter(is_plain, block.modules()):
            stack.enter_context(patch.object(module, "forward", partial(normalize, module)))
        yield
