"""What a checkpoint's numbers look like; no torch here, the plan uses it too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Layout:
    """A scheme (``group_size`` -1: per output channel), its activations, and how gptq stores zero-points.

    ``widths`` are those that the linears of a mixed scheme may have, ``bits`` the largest of them.
    """

    bits: int
    group_size: int
    symmetric: bool
    activations: str = "none"
    zeros: str = "v2"
    widths: tuple[int, ...] = ()

    @classmethod
    def of(cls, cell: dict[str, Any], zeros: str = "v2") -> Layout:
        """The layout of a cell, from its spec."""
        scheme = cell["scheme"]
        widths = tuple(sorted(scheme.get("choices", ())))
        bits, activations = max(widths, default=scheme["bits"]), cell["method"]["activations"]
        return cls(bits, scheme["group_size"], scheme["symmetric"], activations, zeros, widths)

    @property
    def grouped(self) -> bool:
        """Whether runs of input channels have a scale of their own."""
        return self.group_size > 0

    @property
    def mixed(self) -> bool:
        """Whether linears differ in their widths."""
        return bool(self.widths)
