"""What a quantizer returns. The float weight is derived from the codes, never the reverse."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ptqbench.formats.bitstream import pack, unpack
from ptqbench.quantize.orthogonal import Orthogonal, from_state


@dataclass
class QuantizedLinear:
    """Codes and grid of one linear ``y = W x``, ``W`` of ``[m, n]``.

    ``codes`` uint8 ``[m, n]``; ``scale`` float32 and ``zero`` uint8 ``[m, groups]``, or float32 on a half-integer grid
    (QuIP's own), where it is the constant ``(2^bits - 1) / 2``; ``channel_scale`` float32 ``[n]`` divides the input
    where no neighbour could absorb it; ``right`` transforms the input after that and ``left`` the output:
    ``W = left (scale (codes - zero)) rightᵀ / channel_scale``.
    """

    codes: Tensor
    scale: Tensor
    zero: Tensor
    bits: int
    symmetric: bool
    channel_scale: Tensor | None = None
    right: Orthogonal | None = None
    left: Orthogonal | None = None

    @property
    def group_size(self) -> int:
        """Columns that share a scale."""
        return self.codes.shape[1] // self.scale.shape[1]

    @property
    def half_integer(self) -> bool:
        """Whether the zero-point is QuIP's, which no packed format holds."""
        return self.zero.is_floating_point()

    @property
    def packed_bytes(self) -> int:
        """Bytes of packed codes, 16-bit scales and transforms and, where they are not constant, packed zero-points."""
        constant = self.symmetric or self.half_integer
        zeros = 0 if constant else self.zero.numel() * self.bits
        sides = [t for side in (self.right, self.left) if side is not None for t in side.state().values()]
        extra = [t for t in (self.scale, self.channel_scale, *sides) if t is not None]
        return (self.codes.numel() * self.bits + 16 * sum(t.numel() for t in extra) + zeros + 7) // 8

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """``W`` as a packed kernel computes it: integers times the scale, in ``dtype``."""
        groups = self.codes.unflatten(1, (-1, self.group_size)).to(dtype)  # codes and zeros are exact in any dtype
        weight = groups.sub_(self.zero.to(dtype).unsqueeze(-1)).mul_(self.scale.to(dtype).unsqueeze(-1)).flatten(1)
        if self.channel_scale is None and self.right is None and self.left is None:
            return weight
        return self._undo(weight.float()).to(dtype)

    def _undo(self, weight: Tensor) -> Tensor:
        weight = weight if self.left is None else self.left.inverse(weight.T).T
        weight = weight if self.right is None else self.right.inverse(weight)
        return weight if self.channel_scale is None else weight / self.channel_scale

    def state(self, prefix: str) -> dict[str, Tensor]:
        """Tensors for a safetensors file, codes as a dense bit stream; what linears of a site share is copied."""
        tensors = {
            f"{prefix}.codes": pack(self.codes, self.bits),
            f"{prefix}.scale": self.scale,
            f"{prefix}.zero": self.zero,
            f"{prefix}.meta": torch.tensor([self.bits, int(self.symmetric), *self.codes.shape]),
        }
        if self.channel_scale is not None:
            tensors[f"{prefix}.channel_scale"] = self.channel_scale.clone()
        for side in ("right", "left"):
            if (transform := getattr(self, side)) is not None:
                tensors |= {f"{prefix}.{side}.{key}": tensor.clone() for key, tensor in transform.state().items()}
        return tensors

    @classmethod
    def from_state(cls, state: dict[str, Tensor], prefix: str) -> QuantizedLinear:
        """The inverse of :meth:`state`."""
        bits, symmetric, _, n = state[f"{prefix}.meta"].tolist()
        return cls(
            codes=unpack(state[f"{prefix}.codes"], bits, n),
            scale=state[f"{prefix}.scale"],
            zero=state[f"{prefix}.zero"],
            bits=bits,
            symmetric=bool(symmetric),
            channel_scale=state.get(f"{prefix}.channel_scale"),
            right=_transform(state, f"{prefix}.right."),
            left=_transform(state, f"{prefix}.left."),
        )


def _transform(state: dict[str, Tensor], prefix: str) -> Orthogonal | None:
    found = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    return from_state(found) if found else None
