"""The basis in which the linears of a site are rounded."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ptqbench.artifacts.linear import QuantizedLinear
from ptqbench.linalg.basis import Basis
from ptqbench.linalg.orthogonal import Orthogonal
from ptqbench.numbers.grid import Grid


@dataclass(frozen=True)
class SiteBasis:
    """The :class:`Basis` of every linear of a site: scale and R are shared, ``left`` holds L by linear."""

    scale: Tensor | None = None
    right: Orthogonal | None = None
    left: dict[str, Orthogonal] = field(default_factory=dict)

    @property
    def trivial(self) -> bool:
        """Whether it is the basis of the model itself."""
        return self.scale is None and self.right is None and not self.left

    def of(self, linear: str) -> Basis:
        """One linear's."""
        return Basis(self.scale, self.right, self.left.get(linear))

    def moment(self, matrix: Tensor) -> Tensor:
        """A second moment ``[n, n]`` of the site's inputs, in this basis."""
        return Basis(self.scale, self.right).moment(matrix)

    def attach(
        self, linear: str, codes: Tensor, scale: Tensor, zero: Tensor, grid: Grid, shared: Tensor | None = None
    ) -> QuantizedLinear:
        """Codes rounded in this basis, as a linear that knows the way back."""
        return QuantizedLinear(
            stored=codes.to(torch.uint8),
            scale=scale.float(),
            zero=zero.float() if grid.half_integer else zero.to(torch.uint8),
            bits=grid.bits,
            symmetric=grid.symmetric,
            number=grid.NUMBER,
            shared=None if shared is None else shared.clone(),  # files hold no tensor twice
            basis=self.of(linear),
        )
