"""The rotations of a whole model: of its residual stream, and of each block's value heads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ptqbench.linalg.orthogonal import Rotation, from_state


@dataclass(frozen=True)
class Rotations:
    """R1 of the residual stream, of order d, and R2 of each block's value heads, float64 ``[head_dim, head_dim]``.

    Only ``blocks``, those of the language model, are rotated; R2 is None where values have no heads or stay as they
    are. ``record`` is what there is to report of how they were found.
    """

    r1: Rotation
    r2: tuple[Tensor | None, ...]
    blocks: range
    record: dict[str, float] = field(default_factory=dict)

    def matrices(self) -> list[Tensor]:
        """R1, where that is a matrix, and the blocks' R2: what is learned."""
        assert isinstance(self.r1, Tensor)
        return [self.r1, *(r2 for r2 in self.r2 if r2 is not None)]

    def with_matrices(self, matrices: Iterable[Tensor]) -> Rotations:
        """The rotations with others in the places of :meth:`matrices`."""
        r1, *heads = matrices
        rest = iter(heads)
        return replace(self, r1=r1, r2=tuple(None if r2 is None else next(rest) for r2 in self.r2))

    def to(self, device: torch.device) -> Rotations:
        """The same rotations on a device."""
        return replace(self, r1=self.r1.to(device), r2=tuple(None if r2 is None else r2.to(device) for r2 in self.r2))

    def state(self) -> dict[str, Tensor]:
        """Tensors to store, from which :meth:`from_state` makes the rotations again to the bit."""
        r1 = {"matrix": self.r1} if isinstance(self.r1, Tensor) else self.r1.origin.state()
        heads = {f"r2.{block}": r2.contiguous() for block, r2 in enumerate(self.r2) if r2 is not None}
        span = torch.tensor([self.blocks.start, self.blocks.stop, len(self.r2)])
        return {**{f"r1.{kind}": tensor.contiguous() for kind, tensor in r1.items()}, **heads, "blocks": span}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> Rotations:
        """The rotations of a cell; how they were found is in its records."""
        begin, end, count = state["blocks"].tolist()
        found = {key.removeprefix("r1."): tensor for key, tensor in state.items() if key.startswith("r1.")}
        r1 = found["matrix"] if "matrix" in found else from_state(found)
        return cls(r1, tuple(state.get(f"r2.{block}") for block in range(count)), range(begin, end))
