"""The files of a cell."""

from __future__ import annotations

OUTSIDE = "outside.safetensors"  # tensors outside the blocks that a transform changed
ROTATIONS = "rotations.safetensors"  # those of the residual stream and the value heads, where there are any


def block_file(index: int) -> str:
    """Codes, grids, bases and changed float tensors of one block."""
    return f"block-{index:03d}.safetensors"
