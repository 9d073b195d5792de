"""A cell from statistics on disk: the loop over blocks, each independent of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ptqbench.drive.records import settle
from ptqbench.drive.site import QuantizedBlock, nearest_losses, quantize_site
from ptqbench.drive.traffic import read_statistics
from ptqbench.linalg.rotations import Rotations
from ptqbench.methods.composition import Composition, name_of
from ptqbench.methods.contracts import BlockTransform, Record, StreamTransform, Transform
from ptqbench.methods.rotate import rotate, rotate_outside
from ptqbench.methods.state import BlockState
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.shown import Calibration
from ptqbench.numbers.grid import Grid
from ptqbench.pipeline import ahead, received, upload
from ptqbench.recipe import Recipe


@dataclass
class Outside:
    """Tensors outside the blocks that a transform changed (checkpoint names), and what ``config.json`` must say."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


class Cell:
    """One model, one recipe, one grid, the folder of shared statistics and the calibration set."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        recipe: Recipe,
        grid: Grid,
        statistics: Path,
        device: torch.device,
        calibration: Calibration | None = None,
    ) -> None:
        self.checkpoint, self.recipe, self.grid = checkpoint, recipe, grid
        self.statistics, self.device = statistics, device
        self.n_blocks = checkpoint.n_blocks
        self.span = range(self.n_blocks)  # the blocks to quantize
        self.composition = Composition.of(recipe)
        self.rotations: Rotations | None = None  # once it is prepared, or read from what was made
        self.calibration = calibration
        self.check: Callable[[Path], None] = lambda file: None  # that a statistics file is whole, before it is read
        self.widths: dict[tuple[int, str], int] = {}  # bits of sites, where they are not the grid's

    @property
    def tokens(self) -> Tensor:
        """The calibration set, where it is text."""
        assert isinstance(self.calibration, Tensor)
        return self.calibration

    @property
    def stream(self) -> range:
        """The blocks of the language model."""
        return range(self.checkpoint.adapter.tower_blocks, self.n_blocks)

    def prepare(self) -> None:
        """Let the transform that needs the whole model (a rotation of the stream) do its part once."""
        for transform in self.composition.transforms:
            if isinstance(transform, StreamTransform):
                self.rotations = transform.rotations(self)

    def state(self, index: int) -> BlockState:
        """A block as the float model has it, with the shared statistics."""
        return self.state_of(index, *self._load(index))

    def state_of(self, index: int, tensors: dict[str, Tensor], statistics: dict[str, Tensor] | None) -> BlockState:
        """A block of these ``tensors`` (block-relative names) and these ``statistics`` (as a file holds them).

        What is large in either is taken out of it, so that nothing is held twice. Statistics may come later.
        """
        sites = self.checkpoint.adapter.sites(self.checkpoint.config, index)
        linears = {f"{linear}.weight" for site in sites for linear in site.linears}
        found = {}
        for name in list(tensors):
            source = tensors.pop(name) if name in linears else tensors[name]
            found[name] = source.to(self.device).float()
        return BlockState(
            index,
            self.checkpoint.adapter.block_config(self.checkpoint.config, index),
            sites,
            self.checkpoint.adapter.writers_among(sites),
            found,
            {} if statistics is None else read_statistics(statistics, sites, self.device, str(self._file(index))),
            self.checkpoint.dtype,
            grids={
                site: replace(self.grid, bits=bits) for (block, site), bits in self.widths.items() if block == index
            },
        )

    def transform(self, state: BlockState) -> list[dict[str, Any]]:
        """Apply the recipe's block transforms in order; returns their records."""
        state.nearest_loss = nearest_losses(state, state.sites, self.grid)
        records = []
        for transform in self.composition.transforms:
            found = self.apply(transform, state)
            records += [{"block": state.index, "transform": name_of(transform), **record} for record in found]
        return records

    def apply(self, transform: Transform, state: BlockState) -> list[Record]:
        """Let one transform act on a block, if it is of a kind that does."""
        if isinstance(transform, StreamTransform):
            assert self.rotations is not None, "a cell that is not prepared"
            return rotate(state, self.rotations)
        return transform.apply(state, self.grid) if isinstance(transform, BlockTransform) else []

    def outside(self) -> Outside:
        """What a rotation of the stream changes outside the blocks."""
        if self.rotations is None:
            return Outside()
        tensors = self._outside_tensors()
        config = rotate_outside(tensors, self.checkpoint.adapter, self.rotations.r1)
        return Outside(tensors, config)

    def blocks(
        self, source: Iterable[tuple[dict[str, Tensor], dict[str, Tensor]]] | None = None
    ) -> Iterator[tuple[QuantizedBlock, list[dict[str, Any]]]]:
        """Quantize block after block, without a forward pass.

        ``source`` yields each block's tensors and statistics; unless given, what is on disk.
        """
        for index, (tensors, statistics) in zip(self.span, source or self.stored(), strict=True):
            state = self.state_of(index, tensors, statistics)
            records = self.transform(state)
            result = self._rounded(state, trusted=True)
            if not result.is_sound:
                result = self._rounded(state, trusted=False)
            result.tensors = changed_tensors(state, tensors, result)
            settle(result.records + records)
            yield result, records

    def _rounded(self, state: BlockState, trusted: bool) -> QuantizedBlock:
        """All sites of a block, rounded."""
        result = QuantizedBlock()
        for site in state.sites:
            quantize_site(state, site, self.composition, state.grids.get(site.name, self.grid), result, trusted=trusted)
        return result

    def stored(self) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """Each block's tensors and statistics from disk, on the device; the next block's are read meanwhile."""
        for tensors, statistics in ahead(self._load, self.span):
            yield received(tensors), received(statistics)

    def _load(self, index: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        file = self._file(index)
        self.check(file)
        return upload(self.checkpoint.block(index), self.device), upload(load_file(file), self.device)

    def _file(self, index: int) -> Path:
        return self.statistics / f"block-{index:03d}.safetensors"

    def _outside_tensors(self) -> dict[str, Tensor]:
        names = self.checkpoint.adapter.outside()
        return {name: self.checkpoint.tensor(name).float() for name in names if name in self.checkpoint.headers}


def changed_tensors(state: BlockState, original: dict[str, Tensor], result: QuantizedBlock) -> dict[str, Tensor]:
    """Float tensors of a block that transforms changed and that no codes replace (norms, biases)."""
    quantized = {f"{linear}.weight" for linear in result.linears}
    return {
        name: tensor
        for name, tensor in state.tensors.items()
        if name not in quantized and not torch.equal(tensor, original[name].to(tensor))
    }
