"""The float model's predictions on the windows of a suite: its last hidden states, from which its head makes logits.

They take ``hidden_size`` numbers a token where the log-probabilities would take the size of the vocabulary, and the
head's product with them, in the same batches, is what the model itself computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from ptqbench.errors import UserError
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.vila import Vila

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2**-5}  # of the largest logit; a product in another order rounds so


@dataclass
class Head:
    """What makes logits: the weight ``[vocabulary, hidden]`` as stored (the embedding's, where they are tied), and what
    some models do with the product: it is multiplied by ``scale``, then bent to within ``cap``.
    """

    weight: Tensor
    scale: float = 1.0
    cap: float | None = None

    @classmethod
    def of(cls, folder: Path, remote: bool) -> Head:
        """The head of a model's folder."""
        checkpoint = Checkpoint(folder, remote=remote)
        names = [f"{name}.weight" for name in (checkpoint.adapter.head, checkpoint.adapter.embedding)]
        weight = checkpoint.tensor(next(name for name in names if name in checkpoint.headers))
        config = checkpoint.text_config
        scale = config.get("logit_scale", 1 / config.get("logits_scaling", 1.0))
        return cls(weight, scale, config.get("final_logit_softcapping"))

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Head:
        """With the weight there."""
        return Head(self.weight.to(device, dtype), self.scale, self.cap)

    def logits(self, hidden: Tensor) -> Tensor:
        """Of last hidden states ``[…, hidden]``, in their dtype."""
        found = F.linear(hidden, self.weight)
        found = found if self.scale == 1 else found * self.scale
        return found if self.cap is None else torch.tanh(found / self.cap) * self.cap


@torch.no_grad()
def states(model: Any, cut: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """For each batch of windows what the head reads ``[b, t, hidden]``, on the CPU, and the model's logits."""
    head: nn.Module = (model.llm if isinstance(model, Vila) else model).get_output_embeddings()
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        for batch in cut.split(batch_size):
            logits = model(input_ids=batch.to(model.device), use_cache=False).logits
            yield seen.pop().cpu(), logits
    finally:
        hook.remove()


def check_head(head: Head, hidden: Tensor, logits: Tensor, where: str) -> None:
    """Raise where the logits are not what :class:`Head` makes: with a bias, say."""
    distance = 0.0
    for window, row in zip(hidden, logits, strict=True):  # no second copy of all logits
        made = head.logits(window.to(head.weight.device)).float()
        distance = max(distance, float((made - row.to(made.device).float()).abs().max().nan_to_num(torch.inf)))
    if not distance <= TOLERANCE[head.weight.dtype] * float(logits.abs().max()):
        raise UserError(
            f"{where}: the model's logits are not its head's product with the last hidden state (they differ by "
            f"{distance:.2g}), which suites of kind fidelity need: leave such suites out for it"
        )


class Stored:
    """The artifact of a reference, in ``folder``, with the model's ``head``, on the ``device`` that multiplies."""

    def __init__(self, folder: Path, head: Head, device: str) -> None:
        self.folder, self.head, self.device = folder, head, device

    def tokens(self, corpus: str) -> Tensor:
        """The windows ``[n, length]``."""
        with safe_open(file(self.folder, corpus), framework="pt") as stored:
            return stored.get_tensor("tokens").long()

    @torch.no_grad()
    def logits(self, corpus: str, batch_size: int) -> Iterator[Tensor]:
        """The float model's logits ``[b, length, vocabulary]``, in batches."""
        with safe_open(file(self.folder, corpus), framework="pt") as stored:
            hidden = stored.get_slice("hidden")
            count = hidden.get_shape()[0]
            for start in range(0, count, batch_size):
                batch = hidden[start : min(count, start + batch_size)].to(self.device)
                self.head = self.head.to(batch.device, batch.dtype)
                yield self.head.logits(batch)


def file(folder: Path, corpus: str) -> Path:
    """Where a corpus's windows are."""
    return folder / f"{corpus}.safetensors"
