"""One block on its way through a recipe: its float tensors and statistics, as transforms leave them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ptqbench.errors import UserError
from ptqbench.linalg.orthogonal import Rotation, turn
from ptqbench.models.adapter import Producer, Site
from ptqbench.numbers.grid import Grid
from ptqbench.statistics.hessian import unfold

MOMENTS = ("hessian", "mean_abs", "max_abs")


def check_finite(tensors: dict[str, Tensor], where: str) -> None:
    """Refuse, by name, tensors (on one device) that are not finite."""
    if not tensors:
        return
    sums = torch.stack([tensor.sum(dtype=torch.float64) for tensor in tensors.values()])
    for name, total in zip(tensors, sums.tolist(), strict=True):
        if not math.isfinite(total):
            raise UserError(f"{where}: {name} is not finite: the float model overflowed there")


@dataclass
class SiteStatistics:
    """What the statistics pass found at one input site of ``n`` channels (see ``ptqbench.statistics``).

    ``max_abs`` is None after a rotation, which no closed form carries it through; ``cross`` is ``(X̃ - X)ᵀX / tokens``
    with X̃ the inputs in the float model, where both streams were run (GPTAQ). ``prior`` is the share of H that comes
    from other tokens than the site's own (experts with little traffic).
    """

    hessian: Tensor
    mean_abs: Tensor
    max_abs: Tensor | None
    tokens: int
    cross: Tensor | None = None
    prior: float = 0.0

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], site: str) -> SiteStatistics:
        """Take one site out of the tensors of a statistics file."""
        found = {key: tensors.pop(f"{site}.{key}") for key in MOMENTS}
        hessian = unfold(found.pop("hessian"), len(found["mean_abs"]))
        return cls(hessian, found["mean_abs"], found["max_abs"], int(tensors[f"{site}.tokens"]))

    def scale(self, scale: Tensor) -> None:
        """The input becomes ``x / scale``: every statistic follows exactly."""
        self.hessian = self.hessian / scale.outer(scale)
        self.mean_abs = self.mean_abs / scale
        self.max_abs = None if self.max_abs is None else self.max_abs / scale

    def rotate(self, rotation: Rotation) -> None:
        """The input becomes ``x @ R``: H follows exactly, ``mean_abs`` as for normal inputs."""
        self.hessian = turn(turn(self.hessian.double(), rotation).T, rotation).float()
        self.mean_abs = (self.hessian.diagonal().clamp(min=0) * 2 / torch.pi).sqrt()
        self.max_abs = None


@dataclass
class BlockState:
    """A block's float tensors (float32, block-relative names) and the statistics of its sites.

    Transforms act in place. What they leave for others to undo is explicit: ``row_scale[linear]`` multiplies an output
    error to bring it back to the original basis; ``channel_scale[site]`` divides inputs that no producer could absorb.
    ``nearest_loss[linear]`` is the proxy loss of nearest rounding before any transform; ``dtype`` is the checkpoint's,
    in which norms are stored. ``grids`` holds the grids of sites that have one of their own.
    """

    index: int
    config: dict[str, Any]
    sites: tuple[Site, ...]
    writers: tuple[str, ...]
    tensors: dict[str, Tensor]
    statistics: dict[str, SiteStatistics]
    dtype: torch.dtype = torch.bfloat16
    row_scale: dict[str, Tensor] = field(default_factory=dict)
    channel_scale: dict[str, Tensor] = field(default_factory=dict)
    nearest_loss: dict[str, Tensor] = field(default_factory=dict)
    grids: dict[str, Grid] = field(default_factory=dict)

    def weight(self, linear: str) -> Tensor:
        """The weight ``[m, n]`` of a linear."""
        return self.tensors[f"{linear}.weight"]

    def stacked(self, site: Site) -> Tensor:
        """The weights of a site's linears, one below the other."""
        return torch.cat([self.weight(linear) for linear in site.linears])

    def value_rows(self, producer: Producer) -> Tensor:
        """Indices of the rows of a ``value`` producer that are values, head by head, ``[kv_heads · width]``."""
        _, kv_heads, width = self.heads
        rows = torch.arange(kv_heads * (producer.skip + width), device=self.device)
        return producer.first + rows.view(kv_heads, -1)[:, producer.skip :].flatten()

    @property
    def device(self) -> torch.device:
        """Where the block's tensors are."""
        return next(iter(self.tensors.values())).device

    @property
    def value_width(self) -> int | None:
        """The width of one value head; None in a block without attention."""
        attends = any(site.producer is not None and site.producer.kind == "value" for site in self.sites)
        return self.heads[2] if attends else None

    @property
    def heads(self) -> tuple[int, int, int]:
        """Query heads, key-value heads and the width of one head's values."""
        n_heads = int(self.config["num_attention_heads"])
        width = (
            self.config.get("v_head_dim") or self.config.get("head_dim") or int(self.config["hidden_size"]) // n_heads
        )
        return n_heads, int(self.config.get("num_key_value_heads") or n_heads), int(width)
