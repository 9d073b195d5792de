"""The training loop: AdamW, cosine schedule, bf16 autocast, compiled where there is a GPU."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
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
    """AdamW that decays matrices only."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.dim() >= 2]
    others = [p for p in model.parameters() if p.requires_grad and p.dim() < 2]
    groups = [
        {"params": decayed, "weight_decay": schedule.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    fused = next(model.parameters()).is_cuda
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.95), fused=fused)


def train(model: nn.Module, tokens: np.ndarray, schedule: Schedule, device: torch.device) -> dict[str, Any]:
    """Train ``model`` in place on the stream; returns steps, tokens, seconds and the last loss (nats)."""
    torch.manual_seed(schedule.seed)
    torch.set_float32_matmul_precision("high")
    model.to(device=device, dtype=torch.float32).train()

    def loss_of(batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            logits = model(input_ids=batch[:, :-1], use_cache=False).logits
        return F.cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten())

    compiled = torch.compile(loss_of) if device.type == "cuda" else loss_of
    optimizer = optimizer_for(model, schedule)
    source = batches(tokens, schedule, device)
    compiled(next(source)).backward()  # compilation is not training time
    optimizer.zero_grad(set_to_none=True)
    begun, step, smooth = time.monotonic(), 0, torch.zeros((), device=device)
    with progress_bar("training", total=schedule.steps) as bar:
        while step < schedule.steps and (elapsed := time.monotonic() - begun) < 60 * schedule.minutes:
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step, elapsed)
            loss = compiled(next(source))
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
