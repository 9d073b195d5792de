"""The basis in which a linear is rounded: a scale of its inputs, and orthogonal transforms of inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ptqbench.linalg.orthogonal import Orthogonal


@dataclass(frozen=True)
class Basis:
    """``W' = Lᵀ (W diag(s)) R`` with ``x' = (x / s) R``; absent parts are the identity.

    ``scale [n]`` is s, ``right`` R and ``left`` L. The linears that read the same input share the first two.
    """

    scale: Tensor | None = None
    right: Orthogonal | None = None
    left: Orthogonal | None = None

    @property
    def trivial(self) -> bool:
        """Whether it is the basis of the model itself."""
        return self.scale is None and self.right is None and self.left is None

    def forward(self, weight: Tensor) -> Tensor:
        """A weight ``[m, n]`` of the model, in this basis."""
        weight = weight if self.scale is None else weight * self.scale
        weight = weight if self.right is None else self.right.apply(weight)
        return weight if self.left is None else self.left.apply_left(weight)

    def back(self, weight: Tensor) -> Tensor:
        """A weight ``[m, n]`` of this basis, in the model's; differentiable."""
        weight = weight if self.left is None else self.left.inverse(weight.T).T
        weight = weight if self.right is None else self.right.inverse(weight)
        return weight if self.scale is None else weight / self.scale

    def moment(self, matrix: Tensor) -> Tensor:
        """``E[x'ᵀ x']`` for ``matrix [n, n]`` = ``E[xᵀ x]`` (also of two different inputs)."""
        matrix = matrix if self.scale is None else matrix / self.scale.outer(self.scale)
        return matrix if self.right is None else self.right.apply_left(self.right.apply_left(matrix).T).T.contiguous()

    @property
    def input_bits(self) -> int:
        """What must be stored of the inputs' side: a 16-bit scale for each channel, a seed."""
        scale = 0 if self.scale is None else 16 * self.scale.numel()
        return scale + (0 if self.right is None else self.right.origin.bits)

    @property
    def output_bits(self) -> int:
        """What must be stored of the outputs' side: a seed."""
        return 0 if self.left is None else self.left.origin.bits


MODEL = Basis()  # the model's own
