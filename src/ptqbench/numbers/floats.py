"""Grids of small floats: the elements of FP8, NVFP4 and the MX formats (OCP Microscaling 1.0, section 5.3).

A code is the number's own bits: sign, exponent, mantissa. ``x̂ = scale · element(code)``, nearest with ties to even, and
clamped to the largest element; there is no zero-point. What differs between formats is the element and how scales are
stored (:mod:`ptqbench.numbers.formats`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ptqbench.numbers.grid import Grid

SMALLEST = 2.0**-100  # of a scale, so that nothing is divided by 0


@dataclass(frozen=True)
class Element:
    """A float of ``mantissa`` bits whose smallest normal number is ``2^lowest`` and whose largest is ``largest``."""

    bits: int
    mantissa: int
    lowest: int
    largest: float

    def exponent(self, x: Tensor) -> Tensor:
        """Of the binade that ``x`` is in, or of the lowest: whole numbers."""
        _, exponent = torch.frexp(x)  # x = f 2^exponent with |f| in [1/2, 1), or 0
        return (exponent - 1).where(x != 0, self.lowest).clamp(min=self.lowest)

    def unit(self, x: Tensor) -> Tensor:
        """The distance of neighbouring elements around ``x``."""
        return torch.ldexp(torch.ones_like(x), self.exponent(x) - self.mantissa)

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

    @property
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


@dataclass(frozen=True)
class FloatGrid(Grid):
    """``group_size`` input channels share a scale; ``ELEMENT`` is what a code stands for."""

    ELEMENT: ClassVar[Element]
    SCALES: ClassVar[Literal["float32", "four bits", "powers"]] = "float32"  # what :meth:`stored` makes of them

    symmetric: bool = True

    @property
    def centred(self) -> bool:
        """There is no zero-point."""
        return True

    @property
    def centre(self) -> float:
        """Nothing is subtracted from a code's value."""
        return 0.0

    @property
    def reach(self) -> float:
        """What the end of a range is in units of the scale."""
        return self.ELEMENT.largest

    @property
    def edges(self) -> tuple[int, int]:
        """The codes of the smallest and the largest element."""
        return self.ELEMENT.top + 2 ** (self.bits - 1), self.ELEMENT.top

    @property
    def levels(self) -> tuple[float, ...]:
        """Every element over the largest, in rising order."""
        return tuple(sorted({value / self.ELEMENT.largest for value in self.ELEMENT.values}))

    def from_bounds(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and zero (always 0) of the grid whose largest elements are at the larger of both ends."""
        scale = self.stored(self.step(low.clamp(max=0), high.clamp(min=0)))
        return scale, torch.zeros_like(scale)

    def step(self, low: Tensor, high: Tensor) -> Tensor:
        """The scale at which the larger end is the range's end."""
        return torch.maximum(-low, high) / self.reach

    def stored(self, scale: Tensor) -> Tensor:
        """In float32, as it is."""
        return scale.clamp(min=SMALLEST)

    def encode(self, x: Tensor, scale: Tensor, zero: Tensor, offset: Tensor | None = None) -> Tensor:
        """Codes of the nearest elements; ``offset``: added in units of the distance of elements around ``x``."""
        steps = x / scale
        return self.ELEMENT.code(self.ELEMENT.nearest(steps if offset is None else self._moved(steps, offset)))

    def decode(self, codes: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
        """The values of codes."""
        return scale * self.ELEMENT.value(codes, scale.dtype)

    def soft(self, x: Tensor, scale: Tensor, zero: Tensor, offset: Tensor | None) -> Tensor:
        """The values of the nearest elements; clamped ones pass no gradient to ``x / scale`` and ``offset``."""
        steps = x / scale
        moved = steps if offset is None else self._moved(steps, offset)
        held = moved.clamp(-self.ELEMENT.largest, self.ELEMENT.largest)
        return scale * (held + (self.ELEMENT.nearest(held) - held).detach())

    def _moved(self, steps: Tensor, offset: Tensor) -> Tensor:
        """Values in units of the scale, moved by a share of the distance of elements there."""
        return steps + offset * self.ELEMENT.unit(steps.detach())

    def overhead(self, m: int, groups: int) -> int:
        """Bits of what is stored beside the codes: float32 scales."""
        return 32 * m * groups

    def at_limits(self, scale: Tensor) -> dict[str, Tensor]:
        """No limit of storage is met: :meth:`joint` keeps scales where they can be stored."""
        return {name: torch.zeros((), dtype=torch.float64, device=scale.device) for name in LIMITS}


LIMITS = ("scale_floor", "scale_ceiling")
