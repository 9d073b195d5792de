"""What a number is: fit, encode, decode. Every method asks a grid; this one is of integers.

Formats of ``numbers/formats`` are grids too, of floats (:mod:`ptqbench.numbers.floats`).

``code = clamp(round(x / scale) + zero, 0, 2^bits - 1)`` and ``x̂ = scale (code - zero)``. The zero-point is an integer
and the range always includes 0, so that every grid can be packed. Scales are rounded to their storage type before
anything is encoded: to bfloat16 values that float16 holds as well, so that one result fits every checkpoint format.

The exception is QuIP's own grid, ``half_integer``: symmetric around ``zero = q_max / 2``, which no packed format holds;
there ``code = clamp(round(x / scale + zero))``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor

from ptqbench.members import class_name, module
from ptqbench.schemes import FOLDER, INTEGER

SMALLEST_SCALE = 2.0**-14  # the smallest normal float16: a subnormal scale is what turns 2-bit weights into NaN
LARGEST_SCALE = 2.0**15


@dataclass(frozen=True)
class Grid:
    """Bit-width, granularity (``group_size`` input channels share a scale; -1: the whole row) and symmetry."""

    NUMBER: ClassVar[str] = INTEGER

    bits: int
    group_size: int = -1
    symmetric: bool = False
    half_integer: bool = False

    @property
    def q_max(self) -> int:
        """The largest code."""
        return 2**self.bits - 1

    @property
    def edges(self) -> tuple[int, int]:
        """The codes of the smallest and the largest value."""
        return 0, self.q_max

    @property
    def levels(self) -> tuple[float, ...]:
        """Every value of a symmetric range that ends at -1 and 1, in rising order."""
        return tuple(2 * code / self.q_max - 1 for code in range(self.q_max + 1))

    @property
    def centred(self) -> bool:
        """Whether every range is symmetric, so that its zero is the :attr:`centre`."""
        return self.symmetric or self.half_integer

    @property
    def centre(self) -> float:
        """The zero of a symmetric range: ``2^(bits-1)``, or ``q_max / 2`` if half-integer."""
        return self.q_max / 2 if self.half_integer else float(2 ** (self.bits - 1))

    def width(self, n: int) -> int:
        """Columns of one group of an ``[m, n]`` weight; a group size that does not divide ``n`` is refused."""
        if self.group_size == -1:
            return n
        if n % self.group_size:
            raise ValueError(f"group_size {self.group_size} does not divide {n} input channels")
        return self.group_size

    def grouped(self, weight: Tensor) -> Tensor:
        """View ``[m, n]`` as ``[m, groups, width]``."""
        return weight.unflatten(-1, (-1, self.width(weight.shape[-1])))

    def from_bounds(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and zero (float tensors, zero integral) of the grid that spans ``[low, high]`` and 0.

        Symmetric: ``scale = 2 max(|low|, |high|) / q_max`` with the :attr:`centre` as zero.
        An empty range becomes [-1, 1].
        """
        low, high = low.clamp(max=0), high.clamp(min=0)
        empty = low == high
        low, high = low.masked_fill(empty, -1.0), high.masked_fill(empty, 1.0)
        scale = self.stored(self.step(low, high))
        if self.centred:
            return scale, torch.full_like(scale, self.centre)
        return scale, torch.round(-low / scale).clamp(0, self.q_max)

    def step(self, low: Tensor, high: Tensor) -> Tensor:
        """The distance of neighbouring levels that span ``[low, high]``, before it is rounded to its storage type."""
        return (2 * torch.maximum(-low, high) if self.centred else high - low) / self.q_max

    def stored(self, scale: Tensor) -> Tensor:
        """Scales as they can be stored, in the input's dtype."""
        return storage_scale(scale)

    def joint(self, scale: Tensor) -> Tensor:
        """The scales ``[m, groups]`` of all linears of a site, where what can be stored of one depends on others."""
        return scale

    def shared(self, scale: Tensor) -> Tensor | None:
        """What the scales of a site are stored in units of, a power of two; None where they are stored as they are."""
        return None

    def within(self, scale: Tensor, known: Tensor) -> Tensor:
        """Scales of some groups, fitted anew beside those that :meth:`joint` made of the whole site, ``known``."""
        return scale

    def encode(self, x: Tensor, scale: Tensor, zero: Tensor, offset: Tensor | None = None) -> Tensor:
        """Nearest codes, in the dtype of ``x``; shapes broadcast. ``offset``: added to ``x``, in steps of the grid."""
        return self._codes(x / scale if offset is None else x / scale + offset, zero)

    def decode(self, codes: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
        """The values of codes."""
        return scale * (codes - zero)

    def rounded(self, x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
        """The values of the nearest codes."""
        return self.decode(self.encode(x, scale, zero), scale, zero)

    def soft(self, x: Tensor, scale: Tensor, zero: Tensor, offset: Tensor | None) -> Tensor:
        """The values of :meth:`encode`'s codes, with gradients as if rounding were the identity: for training."""
        return self.decode(
            self._codes(x / scale if offset is None else x / scale + offset, zero, ste_round), scale, zero
        )

    def _codes(self, steps: Tensor, zero: Tensor, rounding: Callable[[Tensor], Tensor] = torch.round) -> Tensor:
        """Codes of values in units of the scale."""
        if self.half_integer:
            return (rounding(steps + 0.5) + (zero - 0.5)).clamp(0, self.q_max)
        return (rounding(steps) + zero).clamp(0, self.q_max)

    def overhead(self, m: int, groups: int) -> int:
        """Bits of what is stored beside the codes: 16-bit scales, and zero-points unless constant."""
        return m * groups * (16 if self.centred else 16 + self.bits)

    def at_limits(self, scale: Tensor) -> dict[str, Tensor]:
        """What the limits of storage did to scales: what share of ``Σ scale²`` (about that of the rounding error) is of
        those at the floor, to which smaller ones are raised, and what share of scales is at the ceiling, where weights
        clip.
        """
        square = scale.double().square()
        floored = square.where(scale <= SMALLEST_SCALE, 0.0).sum() / square.sum()
        return {"scale_floor": floored, "scale_ceiling": (scale >= LARGEST_SCALE).double().mean()}


def storage_scale(scale: Tensor) -> Tensor:
    """Round to bfloat16 and clamp to float16's normal range, in the input's dtype."""
    return scale.to(torch.bfloat16).to(scale.dtype).clamp(SMALLEST_SCALE, LARGEST_SCALE)


def ste_round(x: Tensor) -> Tensor:
    """Round with the identity's gradient."""
    return x + (torch.round(x) - x).detach()


def make(number: str, bits: int, group_size: int, symmetric: bool, half_integer: bool = False) -> Grid:
    """The grid of a number format by its name."""
    if number == INTEGER:
        return Grid(bits, group_size, symmetric, half_integer)
    found: Grid = getattr(import_module(module(FOLDER, number)), class_name(number))()
    return found


def scheme_grid(scheme: dict[str, Any], recipe: dict[str, Any]) -> Grid:
    """The grid of a scheme; of a mixed one, that of its largest width."""
    half_integer = recipe["range"].get("zero") == "half_integer"
    bits = max(scheme["choices"]) if scheme["bits"] == "mixed" else scheme["bits"]
    return make(scheme.get("number", INTEGER), bits, scheme["group_size"], scheme["symmetric"], half_integer)
