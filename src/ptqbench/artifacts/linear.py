"""What a quantizer returns. The float weight is derived from the codes, never the reverse."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ptqbench.linalg.basis import MODEL, Basis
from ptqbench.linalg.orthogonal import Orthogonal, from_state
from ptqbench.numbers.bitstream import Stream, pack
from ptqbench.numbers.grid import Grid, make
from ptqbench.schemes import INTEGER


@dataclass
class QuantizedLinear:
    """Codes and grid of one linear ``y = W x``, ``W`` of ``[m, n]``.

    ``stored`` are the codes, uint8 ``[m, n]``, or the stream that holds them; ``scale`` is float32 and ``zero`` uint8
    ``[m, groups]``, or float32 on a half-integer grid (QuIP's own), where it is the constant ``(2^bits - 1) / 2``.
    They are of the weight in ``basis``: ``W = back(scale (codes - zero))``, or of another ``number`` than integers what
    its grid decodes; ``shared``: what the scales of a site are stored in units of, if they are.
    """

    stored: Tensor | Stream
    scale: Tensor
    zero: Tensor
    bits: int
    symmetric: bool
    basis: Basis = MODEL
    number: str = INTEGER
    shared: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``."""
        m, n = self.stored.shape
        return m, n

    @property
    def codes(self) -> Tensor:
        """Codes, uint8 ``[m, n]``: unpacked at each call where they are stored as a stream."""
        return self.stored.codes() if isinstance(self.stored, Stream) else self.stored

    @property
    def words(self) -> Tensor:
        """The codes as a bit stream, int32 ``[m, ceil(n·bits / 32)]``."""
        return self.stored.words if isinstance(self.stored, Stream) else pack(self.stored, self.bits)

    @property
    def group_size(self) -> int:
        """Columns that share a scale."""
        return self.shape[1] // self.scale.shape[1]

    @property
    def half_integer(self) -> bool:
        """Whether the zero-point is QuIP's, which no packed format holds."""
        return self.zero.is_floating_point()

    @property
    def grid(self) -> Grid:
        """What the codes are of."""
        return make(self.number, self.bits, self.group_size, self.symmetric, self.half_integer)

    @property
    def own_bits(self) -> int:
        """What only this linear stores: codes, scales, zero-points unless constant, its outputs' seed."""
        overhead = self.grid.overhead(*self.scale.shape)
        return math.prod(self.shape) * self.bits + overhead + self.basis.output_bits

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """``W`` as a packed kernel computes it: integers times the scale, in ``dtype``."""
        weight = self._integers(dtype) if self.number == INTEGER else self._floats().to(dtype)
        return weight if self.basis.trivial else self.basis.back(weight.float()).to(dtype)

    def _integers(self, dtype: torch.dtype) -> Tensor:
        groups = self.codes.unflatten(1, (-1, self.group_size)).to(dtype)  # codes and zeros are exact in any dtype
        return groups.sub_(self.zero.to(dtype).unsqueeze(-1)).mul_(self.scale.to(dtype).unsqueeze(-1)).flatten(1)

    def _floats(self) -> Tensor:
        groups = self.codes.unflatten(1, (-1, self.group_size))
        return self.grid.decode(groups, self.scale.unsqueeze(-1), self.zero.unsqueeze(-1)).flatten(1)

    def state(self, prefix: str) -> dict[str, Tensor]:
        """What only this linear has, for a safetensors file; codes as a dense bit stream."""
        tensors = {
            f"{prefix}.codes": self.words,
            f"{prefix}.scale": self.scale,
            f"{prefix}.meta": torch.tensor([self.bits, int(self.symmetric), *self.shape]),
        }
        if self.number == INTEGER:
            tensors[f"{prefix}.zero"] = self.zero
        else:  # there is no zero-point
            tensors[f"{prefix}.number"] = torch.tensor(list(self.number.encode()), dtype=torch.uint8)
        if self.shared is not None:
            tensors[f"{prefix}.shared"] = self.shared
        return tensors | _origin(self.basis.left, f"{prefix}.left.")

    def input_state(self, site: str) -> dict[str, Tensor]:
        """What the linears of a site share, under ``input.<site>``."""
        scale = {} if self.basis.scale is None else {f"input.{site}.channel_scale": self.basis.scale}
        return scale | _origin(self.basis.right, f"input.{site}.right.")

    @classmethod
    def from_state(cls, state: dict[str, Tensor], prefix: str, site: str) -> QuantizedLinear:
        """The inverse of :meth:`state` and :meth:`input_state`."""
        bits, symmetric, _, n = state[f"{prefix}.meta"].tolist()
        name, scale = state.get(f"{prefix}.number"), state[f"{prefix}.scale"]
        return cls(
            stored=Stream(state[f"{prefix}.codes"], bits, n),
            scale=scale,
            zero=state[f"{prefix}.zero"] if name is None else torch.zeros_like(scale, dtype=torch.uint8),
            number=INTEGER if name is None else bytes(name.tolist()).decode(),
            shared=state.get(f"{prefix}.shared"),
            bits=bits,
            symmetric=bool(symmetric),
            basis=Basis(
                state.get(f"input.{site}.channel_scale"),
                _transform(state, f"input.{site}.right."),
                _transform(state, f"{prefix}.left."),
            ),
        )


def packed_bytes(linears: Iterable[QuantizedLinear]) -> int:
    """What must be stored of the linears of one site, in whole bytes."""
    linears = list(linears)
    return -(-(sum(linear.own_bits for linear in linears) + linears[0].basis.input_bits) // 8)


def _origin(transform: Orthogonal | None, prefix: str) -> dict[str, Tensor]:
    return {} if transform is None else {prefix + key: tensor for key, tensor in transform.origin.state().items()}


def _transform(state: dict[str, Tensor], prefix: str) -> Orthogonal | None:
    found = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    return from_state(found) if found else None
