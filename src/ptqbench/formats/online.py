"""Hadamard transforms of linears' inputs at run time, as ``transform_config`` of compressed-tensors has them.

The input is cut into blocks of ``head_dim`` channels, each multiplied by Sylvester's matrix over its root. Two types
say so: ``hadamard``, which a runtime computes by itself, and ``random-hadamard``, whose matrix is stored, unscaled,
once for all linears of a group. ``weight_input`` (inverse) is what the stored weights have behind them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ptqbench.artifacts.linear import QuantizedLinear
from ptqbench.linalg.hadamard import sylvester
from ptqbench.linalg.orthogonal import Hadamard

STORED = "random-hadamard"


def width(linear: QuantizedLinear) -> int | None:
    """The block's width, if Sylvester's transform of equal blocks is all that is done to a linear's input or output."""
    right = linear.basis.right
    if linear.basis.left is not None or not isinstance(right, Hadamard):
        return None
    blocks = len(right.outer)
    plain = torch.equal(right.outer, torch.eye(blocks, dtype=right.outer.dtype)) and bool((right.signs == 1).all())
    return len(right.signs) // blocks if plain else None


def widths(linears: Iterable[tuple[str, QuantizedLinear]]) -> dict[str, int]:
    """The block widths of the linears that are transformed so, by name."""
    return {name: found for name, linear in linears if (found := width(linear) or 1) > 1}


def settings(found: dict[str, int], kind: str) -> dict[str, Any]:
    """``transform_config`` for the linears of :func:`widths`, a group for each width."""
    return {"config_groups": {_group(size): _scheme(names, size, kind) for size, names in _by_width(found).items()}}


def tensors(found: dict[str, int], kind: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """What a checkpoint holds besides, by the name of the linear it is stored with: the groups' matrices."""
    if kind != STORED:
        return {}
    return {
        f"{names[0]}.{_group(size)}_input.weight": sylvester(size, dtype, torch.device("cpu"))
        for size, names in _by_width(found).items()
    }


def _scheme(names: list[str], size: int, kind: str) -> dict[str, Any]:
    places = (("input", False), ("weight_input", True))
    apply = [{"targets": names, "location": place, "inverse": inverse, "ignore": []} for place, inverse in places]
    return {"type": kind, "apply": apply, "head_dim": size, "randomize": False, "requires_grad": False}


def _group(size: int) -> str:
    return f"R4_{size}"


def _by_width(found: dict[str, int]) -> dict[int, list[str]]:
    return {size: [name for name, own in found.items() if own == size] for size in sorted(set(found.values()))}
