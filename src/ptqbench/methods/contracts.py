"""What members may ask of whoever runs them."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ptqbench.methods.state import BlockState
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.numbers.grid import Grid


class WholeModel(Protocol):
    """A cell, as a transform sees it that must know the whole model before any block is quantized."""

    checkpoint: Checkpoint
    grid: Grid
    device: torch.device
    n_blocks: int

    @property
    def stream(self) -> range:
        """The blocks of the language model."""

    @property
    def tokens(self) -> Tensor:
        """The calibration set ``[samples, length]``."""

    def state(self, index: int) -> BlockState:
        """A block of the float model, with its statistics."""

    def state_of(self, index: int, tensors: dict[str, Tensor], statistics: dict[str, Tensor] | None) -> BlockState:
        """A block of these tensors and statistics."""
