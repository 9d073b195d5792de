"""What a member is: its declaration, its parameters, and what whoever runs a recipe asks of it.

A member is one frozen dataclass in one file, named after the file (``rotation_hadamard`` is ``RotationHadamard``).
Its class constants and the :func:`parameter` of each field are literals: the planner reads both from the source
(``members.py``), and makes the JSON schemas, the errors and what members fit together of them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ptqbench.linalg.rotations import Rotations
from ptqbench.methods.basis import SiteBasis
from ptqbench.methods.problem import Problem, Rounded
from ptqbench.methods.state import BlockState
from ptqbench.methods.trained import Start, Trained
from ptqbench.models.adapter import Site
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.numbers.grid import Grid

if TYPE_CHECKING:  # it brings transformers along, seconds that most cells need not wait
    from ptqbench.models.stream import BlockInput

Settings = dict[str, Any]
Facts = dict[str, Settings]  # of compositions.FACTS, with the parameters under which they hold ({}: always)
Record = dict[str, Any]


def parameter(default: Any, **limits: int | float) -> Any:
    """A member's parameter. Its type is the field's; ``limits`` are ``minimum``, ``exclusiveMinimum``, ``maximum``."""
    return field(default=default)


class Member(Protocol):
    """What every member declares."""

    STRATEGY: ClassVar[str | None] = None  # in the taxonomy of PTQ-Bench
    ALSO: ClassVar[str | None] = None  # another one
    NEEDS: ClassVar[Facts] = {}
    BREAKS: ClassVar[Facts] = {}
    CONTRADICTIONS: ClassVar[Sequence[tuple[Settings, str]]] = ()  # settings that exclude each other, and why
    PROPAGATES: ClassVar[bool] = False  # whether it is always calibrated behind the quantized prefix
    READS_STATISTICS: ClassVar[bool] = False  # those of the float model, even where the recipe propagates
    SCATTERS: ClassVar[bool] = True  # whether several jobs may make a cell of it
    ONLINE: ClassVar[bool] = False  # whether it acts on inputs at run time


@runtime_checkable
class BlockTransform(Member, Protocol):
    """Changes the tensors and statistics of a block in place, and not its function."""

    @abstractmethod
    def apply(self, state: BlockState, grid: Grid) -> list[Record]:
        """Act; what there is to report, a record for each thing done."""


@runtime_checkable
class SiteTransform(Member, Protocol):
    """Chooses the basis in which a site is rounded."""

    @abstractmethod
    def basis(self, state: BlockState, site: Site, before: SiteBasis) -> SiteBasis:
        """The basis, given the one that transforms before it chose."""


@runtime_checkable
class WeightTransform(Member, Protocol):
    """Changes the weight that is about to be rounded, and the model's function with it."""

    @abstractmethod
    def reshape(self, problem: Problem) -> Tensor:
        """The weight ``[m, n]`` to round instead of the problem's."""


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


@runtime_checkable
class StreamTransform(Member, Protocol):
    """Rotates the residual stream, and with it every block and what lies outside the blocks."""

    @abstractmethod
    def rotations(self, model: WholeModel) -> Rotations:
        """Draw or learn them, once."""


@runtime_checkable
class Range(Member, Protocol):
    """Chooses the ends of each row's or group's grid."""

    @abstractmethod
    def bounds(self, weight: Tensor, grid: Grid, hessian: Tensor | None) -> tuple[Tensor, Tensor]:
        """``(low, high)`` ``[m, groups]`` of ``weight [m, groups, width]``; H's diagonal blocks are ``hessian``."""


@runtime_checkable
class Rounding(Member, Protocol):
    """Maps the weights of a site to codes."""

    BOTH_STREAMS: ClassVar[bool] = False  # whether it reads the cross moment of quantized and float inputs

    @abstractmethod
    def round_site(self, problem: Problem) -> Rounded:
        """Codes, scales and zeros."""


@runtime_checkable
class Learner(Member, Protocol):
    """Is trained on a block's output before any of its sites is rounded."""

    @abstractmethod
    def learn(
        self,
        block: nn.Module,
        start: Start,
        inputs: list[BlockInput],
        targets: list[Tensor],
        grid: Grid,
    ) -> Trained:
        """Ranges, and for learned rounding offsets, of every linear of ``start``."""


Transform = BlockTransform | SiteTransform | WeightTransform | StreamTransform
