"""The basis in which a site is rounded: per-channel scale, then orthogonal transforms of its inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ptqbench.artifacts.linear import QuantizedLinear
from ptqbench.linalg.orthogonal import Orthogonal
from ptqbench.numbers.grid import Grid


@dataclass
class SiteBasis:
    """``W' = Lᵀ (W diag(s)) R`` with ``x' = (x / s) R``; absent parts are identity. R is shared by the site."""

    scale: Tensor | None = None
    right: Orthogonal | None = None
    left: dict[str, Orthogonal] = field(default_factory=dict)

    @property
    def trivial(self) -> bool:
        """Whether it is the basis of the model itself."""
        return self.scale is None and self.right is None and not self.left

    def forward(self, linear: str, weight: Tensor) -> Tensor:
        """A linear's weight ``[m, n]`` in this basis."""
        weight = weight if self.scale is None else weight * self.scale
        weight = weight if self.right is None else self.right.apply(weight)
        return weight if linear not in self.left else self.left[linear].apply_left(weight)

    def second_moment(self, matrix: Tensor) -> Tensor:
        """``E[x'ᵀ x']`` for ``matrix [n, n]`` = ``E[xᵀ x]`` (also of two different inputs)."""
        matrix = matrix if self.scale is None else matrix / self.scale.outer(self.scale)
        return matrix if self.right is None else self.right.apply_left(self.right.apply_left(matrix).T).T.contiguous()

    def attach(self, linear: str, codes: Tensor, scale: Tensor, zero: Tensor, grid: Grid) -> QuantizedLinear:
        """Codes rounded in this basis, as a linear that knows the way back."""
        return QuantizedLinear(
            stored=codes.to(torch.uint8),
            scale=scale.float(),
            zero=zero.float() if grid.half_integer else zero.to(torch.uint8),
            bits=grid.bits,
            symmetric=grid.symmetric,
            channel_scale=self.scale,
            right=self.right,
            left=self.left.get(linear),
        )
