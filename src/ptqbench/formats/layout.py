"""What a checkpoint's numbers look like; no torch here, the plan uses it too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ptqbench.members import members
from ptqbench.schemes import INTEGER


@dataclass(frozen=True)
class Layout:
    """A scheme (``group_size`` -1: per output channel), its activations, and how gptq stores zero-points.

    ``widths`` are those that the linears of a mixed scheme may have, ``bits`` the largest of them.
    ``online``: inputs of some linears are transformed at run time; ``transform`` is the type of compressed-tensors'
    ``transform_config`` that says so, where the backend computes one.
    """

    bits: int
    group_size: int
    symmetric: bool
    activations: str = "none"
    zeros: str = "v2"
    widths: tuple[int, ...] = ()
    online: bool = False
    transform: str | None = None
    number: str = INTEGER

    @classmethod
    def of(cls, cell: dict[str, Any], zeros: str = "v2", transform: str | None = None) -> Layout:
        """The layout of a cell, from its spec."""
        scheme, method = cell["scheme"], cell["method"]
        widths = tuple(sorted(scheme.get("choices", ())))
        grid = (max(widths, default=scheme["bits"]), scheme["group_size"], scheme["symmetric"])
        online = any(members("transforms")[member["name"]].get("ONLINE", False) for member in method["transform"])
        return cls(*grid, method["activations"], zeros, widths, online, transform, scheme.get("number", INTEGER))

    @property
    def grouped(self) -> bool:
        """Whether runs of input channels have a scale of their own."""
        return self.group_size > 0

    @property
    def mixed(self) -> bool:
        """Whether linears differ in their widths."""
        return bool(self.widths)
