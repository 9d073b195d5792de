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

from ptqbench.numbers.elements import Element
from ptqbench.numbers.grid import Grid

SMALLEST = 2.0**-100  # of a scale, so that nothing is divided by 0


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

    def rounded(self, x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
        """The values of the nearest codes, without the codes."""
        return scale * self.ELEMENT.nearest(x / scale)

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
