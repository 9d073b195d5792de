"""QuaRot's rotations (arXiv 2404.00456): R1 a randomized Hadamard of the residual stream, R2 of each value head."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ptqbench.errors import UserError
from ptqbench.linalg.orthogonal import random_hadamard
from ptqbench.methods.contracts import WholeModel
from ptqbench.methods.rotate import rotate_block, rotate_outside
from ptqbench.methods.state import BlockState
from ptqbench.models.adapter import Adapter
from ptqbench.numbers.grid import Grid

STRATEGY = "rotation"
NEEDS: dict = {"model_weight": {}, "unturned_stream": {}, "rms_norms": {}}
BREAKS: dict = {"unturned_stream": {}, "max_abs": {}}
DEFAULTS = {"r2": True, "seed": 0}
PARAMETERS = {
    "r2": {"type": "boolean"},
    "seed": {"type": "integer", "minimum": 0, "maximum": 4294967295},
}

LAYER_NORM = "a block of the vision tower: its LayerNorms centre, which lets no rotation through"

# "r1": of order d, "r2": one [head_dim, head_dim] float64 or None per block, "blocks": those of the language model
Rotations = dict[str, Any]


def prepare(cell: WholeModel, r2: bool, seed: int) -> Rotations:
    """Draw R1 and, where values have heads, every block's R2."""
    if cell.checkpoint.adapter.norms != "rms":  # of a model of the hub, whose family was not known at planning
        raise UserError(
            f"transform: a rotation needs RMSNorms, and the adapter {cell.checkpoint.adapter.name} has none"
        )
    width = cell.state_of(cell.stream[0], {}, None).value_width if r2 else None
    first: list[Tensor | None] = [None] * cell.stream[0]
    heads = [random_hadamard(width, seed + 1 + block).matrix() if width else None for block in range(len(cell.stream))]
    r1 = random_hadamard(int(cell.checkpoint.text_config["hidden_size"]), seed)
    return {"r1": r1, "r2": first + heads, "blocks": cell.stream}


def apply(state: BlockState, grid: Grid, prepared: Rotations, r2: bool, seed: int) -> list[dict[str, Any]]:
    """Rotate one block of the language model."""
    if state.index not in prepared["blocks"]:
        return [{"left_out": LAYER_NORM}]
    own = prepared["r2"][state.index]
    rotate_block(state, prepared["r1"].to(state.device), None if own is None else own.to(state.device))
    return []


def outside(tensors: dict[str, Tensor], adapter: Adapter, prepared: Rotations) -> dict[str, Any]:
    """Rotate what lies outside the blocks."""
    return rotate_outside(tensors, adapter, prepared["r1"])
