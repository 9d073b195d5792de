"""Small floats: E2M1, E2M3, E3M2 (OCP Microscaling 1.0, section 5.3) and E4M3 (OCP FP8 1.0)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

LAYOUTS = {torch.float32: (torch.int32, 23, 127), torch.float64: (torch.int64, 52, 1023)}  # integers, mantissa, bias


@dataclass(frozen=True)
class Element:
    """A float of ``mantissa`` bits whose smallest normal number is ``2^lowest`` and whose largest is ``largest``."""

    bits: int
    mantissa: int
    lowest: int
    largest: float

    def exponent(self, x: Tensor) -> Tensor:
        """Of the binade that ``x`` (float32 or float64) is in, or of the lowest: whole numbers."""
        bits, mantissa, bias = LAYOUTS[x.dtype]
        biased = (x.view(bits) >> mantissa) & (2 * bias + 1)
        return (biased - bias).clamp_(min=self.lowest)

    def unit(self, x: Tensor) -> Tensor:
        """The distance of neighbouring elements around ``x``: a power of two, of which only the exponent is written."""
        _, mantissa, bias = LAYOUTS[x.dtype]
        return (self.exponent(x).add_(bias - self.mantissa) << mantissa).view(x.dtype)

    def nearest(self, x: Tensor) -> Tensor:
        """The nearest element, ties to an even mantissa; never -0."""
        x = x.clamp(-self.largest, self.largest)
        unit = self.unit(x)
        return torch.round(x / unit) * unit + 0.0

    def code(self, value: Tensor) -> Tensor:
        """The bits of elements, as numbers of the dtype of ``value``."""
        size = value.abs()
        above = self.exponent(size) - self.lowest  # binades
        magnitude = size / self.unit(size) + above * 2**self.mantissa
        return magnitude + (value < 0).to(value.dtype) * 2 ** (self.bits - 1)

    def value(self, code: Tensor, dtype: torch.dtype) -> Tensor:
        """The elements of codes."""
        return torch.tensor(self.values, dtype=dtype, device=code.device)[code.long()]

    @cached_property
    def values(self) -> list[float]:
        """The element of every code; of codes that are none (NaN), 0."""
        half = []
        for magnitude in range(2 ** (self.bits - 1)):
            exponent, fraction = divmod(magnitude, 2**self.mantissa)
            whole = fraction + (2**self.mantissa if exponent else 0)
            half.append(whole * 2.0 ** (max(exponent, 1) - 1 + self.lowest - self.mantissa))
        half = [value if value <= self.largest else 0.0 for value in half]
        return half + [-value for value in half]

    @property
    def top(self) -> int:
        """The code of the largest element."""
        return self.values.index(self.largest)


E2M1 = Element(4, 1, 0, 6.0)
E2M3 = Element(6, 3, 0, 7.5)
E3M2 = Element(6, 2, -2, 28.0)
E4M3 = Element(8, 3, -6, 448.0)
