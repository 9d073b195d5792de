"""The training loop: AdamW, cosine schedule, bf16 autocast, compiled where there is a GPU."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ptqbench.progress import progress_bar


@dataclass(frozen=True)
class Schedule:
    """Optimization settings; training ends at ``steps`` or ``minutes``, whichever comes first."""

    steps: int
    minutes: float
    batch_size: int
    context: int
    learning_rate: float
    weight_decay: float
    warmup: int
    seed: int

    def rate(self, step: int, elapsed: float) -> float:
        """Learning rate: linear warm-up, then cosine to a hundredth over steps or time, the faster one."""
        done = min(1.0, max(step / self.steps, elapsed / (60 * self.minutes)))
        cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))
        return self.learning_rate * min(1.0, (step + 1) / self.warmup) * cosine


def batches(tokens: np.ndarray, schedule: Schedule, device: torch.device) -> Iterator[torch.Tensor]:
    """Endless int64 batches ``[batch_size, context + 1]`` at random offsets of the stream."""
    stream = torch.from_numpy(tokens.astype(np.int32)).to(device)
    generator = torch.Generator(device).manual_seed(schedule.seed)
    reach = torch.arange(schedule.context + 1, device=device)
    while True:
        starts = torch.randint(
            len(stream) - schedule.context - 1, (schedule.batch_size, 1), generator=generator, device=device
        )
        yield stream[starts + reach].long()


def optimizer_for(model: nn.Module, schedule: Schedule) -> torch.optim.AdamW:
    """AdamW that decays matrices only, and not the logarithms of Mamba's decay rates."""
    parameters = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    decayed = [p for name, p in parameters if p.dim() >= 2 and not name.endswith("A_log")]
    others = [p for name, p in parameters if p.dim() < 2 or name.endswith("A_log")]
    groups = [
        {"params": decayed, "weight_decay": schedule.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    fused = next(model.parameters()).is_cuda
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.95), fused=fused)


def text_loss(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats per token) of the batch's next tokens; ``batch`` is ``[b, context + 1]``."""
    with torch.autocast(batch.device.type, dtype=torch.bfloat16):
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten())


def train(
    model: nn.Module, tokens: np.ndarray, schedule: Schedule, device: torch.device, compiles: bool = True
) -> dict[str, Any]:
    """Train ``model`` in place on the stream; returns steps, tokens, seconds and the last loss (nats)."""
    source = batches(tokens, schedule, device)
    compiled = torch.compile(text_loss) if compiles and device.type == "cuda" else text_loss
    return optimize(model, lambda: compiled(model, next(source)), schedule, device)


def optimize(
    model: nn.Module, loss_of_next: Callable[[], torch.Tensor], schedule: Schedule, device: torch.device
) -> dict[str, Any]:
    """Descend ``loss_of_next()``, a batch's loss per call, in place; returns steps, text tokens, seconds, last loss."""
    torch.manual_seed(schedule.seed)
    torch.set_float32_matmul_precision("high")
    model.to(device=device, dtype=torch.float32).train()
    optimizer = optimizer_for(model, schedule)
    loss_of_next().backward()  # compilation is not training time
    optimizer.zero_grad(set_to_none=True)
    begun, step, smooth = time.monotonic(), 0, torch.zeros((), device=device)
    with progress_bar("training", total=schedule.steps) as bar:
        while step < schedule.steps and (elapsed := time.monotonic() - begun) < 60 * schedule.minutes:
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step, elapsed)
            loss = loss_of_next()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            smooth = loss.detach() if step == 0 else torch.lerp(smooth, loss.detach(), 0.02)
            step += 1
            if step % 50 == 0:
                bar(50, f"loss {smooth.item():.3f}")
    return {
        "steps": step,
        "tokens": step * schedule.batch_size * schedule.context,
        "seconds": time.monotonic() - begun,
        "loss": smooth.item(),
    }
