"""A cell whose blocks are calibrated behind the already quantized ones (true-sequential, as the papers do).

Streams run in the basis that a residual rotation chose: a transformed block on a rotated stream is the same function.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ptqbench.drive.cell import Cell, changed_tensors
from ptqbench.drive.records import settle
from ptqbench.drive.site import Decided, QuantizedBlock, nearest_losses, quantize_site
from ptqbench.drive.traffic import read_statistics
from ptqbench.linalg.orthogonal import Rotation, turn, turn_back
from ptqbench.methods.basis import SiteBasis
from ptqbench.methods.composition import name_of
from ptqbench.methods.contracts import Learner
from ptqbench.methods.state import BlockState
from ptqbench.methods.trained import Start, full_range, range_ends
from ptqbench.models.adapter import Site, stages
from ptqbench.models.collect import collect_stage, showing, watching
from ptqbench.models.experts import routed_alike, weight_view
from ptqbench.models.skeleton import Skeleton
from ptqbench.models.stream import BlockInput, advance, move_on, run_block
from ptqbench.pipeline import brought

STATISTICS = ("hessian", "magnitude")


class Streams:
    """Block inputs of the quantized model and of the float model, and the rotation that both are in."""

    def __init__(
        self, cell: PropagatedCell, first: int, inputs: list[BlockInput], exact: list[BlockInput] | None = None
    ) -> None:
        self.device = cell.device
        self.rotation = rotation_of(cell, first)
        self.quantized = self._turned(inputs)
        follows = copies(self.quantized) if exact is None else self._turned(exact)
        self.exact = follows if cell._follows_float else []

    def unrotated(self) -> list[BlockInput]:
        """The quantized stream in the original basis."""
        if self.rotation is None:
            return self.quantized
        return [
            BlockInput(turn_back(self._wide(item), self.rotation).to(item.hidden), item.calls)
            for item in self.quantized
        ]

    def _turned(self, inputs: list[BlockInput]) -> list[BlockInput]:
        if self.rotation is not None:
            for item in inputs:
                item.hidden = turn(self._wide(item), self.rotation).to(item.hidden)
        return inputs

    def _wide(self, item: BlockInput) -> Tensor:
        return item.hidden.to(self.device).double()


class PropagatedCell(Cell):
    """A :class:`Cell` that fills each block's statistics behind the quantized prefix."""

    def run(self, batch_size: int) -> Iterator[tuple[QuantizedBlock, list[dict[str, Any]]]]:
        """:meth:`propagated`, in bfloat16 on a GPU and in float32 elsewhere."""
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        yield from self.propagated(Skeleton(self.checkpoint, self.device, dtype), batch_size)

    def propagated(self, skeleton: Skeleton, batch_size: int) -> Iterator[tuple[QuantizedBlock, list[dict[str, Any]]]]:
        """Quantize block after block, site after site, each seeing what was quantized before it.

        A language model behind a quantized tower reads what that one makes of the images; its float stream, what the
        float tower does.
        """
        assert self.calibration is not None
        two_towers = self._follows_float and self.checkpoint.adapter.tower_blocks
        seen_in_float = skeleton.inputs(self.calibration, batch_size) if two_towers else None
        for span, inputs in skeleton.segments(self.calibration, batch_size):
            streams = Streams(self, span[0], inputs, seen_in_float if span == self.stream else None)
            yield from self._propagated(skeleton, span, streams)

    def _propagated(
        self, skeleton: Skeleton, span: range, streams: Streams
    ) -> Iterator[tuple[QuantizedBlock, list[dict[str, Any]]]]:
        weights = brought(self.checkpoint.block, span, self.device)
        for index, tensors in zip(span, weights, strict=True):
            sites = self._sites(index)
            before = statistics_before(skeleton.block(index, tensors), sites, streams) if self._looks_before else None
            state = self.state_of(index, tensors, before)
            records = self.transform(state) if self._looks_before else []
            block = skeleton.block(index, state.tensors)
            exact = copy.deepcopy(block) if self._follows_float else None
            targets = list(run_block(exact, streams.exact)) if exact is not None else []
            decided, note = self._learn(block, state, streams, targets)
            records += note
            result = QuantizedBlock()
            for stage in stages(state.sites):
                self._refresh(state, stage, block, exact, streams)
                for site in stage:
                    quantize_site(state, site, self.composition, self.grid, result, decided)
                for linear in (linear for site in stage for linear in site.linears):
                    weight_view(block, linear).copy_(result.linears[linear].dequantize())
            advance(block, streams.quantized)
            for item, hidden in zip(streams.exact, targets, strict=True):
                move_on(item, hidden)
            skeleton.release(index)
            result.tensors = changed_tensors(state, tensors, result)
            settle(result.records + records)
            yield result, records

    @property
    def _looks_before(self) -> bool:
        """Whether anything needs the block's statistics before its first site is rounded."""
        return isinstance(self.composition.rounding, Learner) or bool(self.composition.transforms)

    @property
    def _follows_float(self) -> bool:
        """Whether anything needs the float model's hidden states as well."""
        return self.composition.learner is not None or self.composition.rounding.BOTH_STREAMS

    def _sites(self, index: int) -> tuple[Site, ...]:
        return self.checkpoint.adapter.sites(self.checkpoint.config, index)

    def _refresh(
        self, state: BlockState, stage: tuple[Site, ...], block: nn.Module, exact: nn.Module | None, streams: Streams
    ) -> None:
        """Statistics of a stage's sites with those before it quantized; both streams where the rounding reads both.

        An expert's cross moment shrinks to zero where its H shrinks to the prior.
        """
        found = collect_stage(block, stage, streams.quantized, STATISTICS)
        state.statistics |= read_statistics(found, stage, self.device, "quantized prefix")
        if not self._looks_before:
            state.nearest_loss |= nearest_losses(state, stage, self.grid)
        if self.composition.rounding.BOTH_STREAMS:
            assert exact is not None
            for name, cross in cross_moments(block, exact, stage, streams).items():
                state.statistics[name].cross = (1 - state.statistics[name].prior) * cross

    def _learn(
        self, block: nn.Module, state: BlockState, streams: Streams, targets: list[Tensor]
    ) -> tuple[Decided | None, list[dict[str, Any]]]:
        """Ranges or roundings that are trained on the block's output, in the bases that its sites are rounded in."""
        learner = self.composition.learner
        if learner is None:
            return None, []
        bases = {site.name: self.composition.basis(state, site) for site in state.sites if site.linears}
        start = self._start(state, bases)
        trained = learner.learn(block, start, streams.quantized, targets, self.grid)
        stage = "range" if learner is self.composition.range else "rounding"
        return Decided(bases, start, trained), [{"block": state.index, stage: name_of(learner), **trained.record}]

    def _start(self, state: BlockState, bases: dict[str, SiteBasis]) -> Start:
        """Where training starts: the full range for a learned range, the range member's choice for learned rounding."""
        start = Start({}, {}, {})
        for site in (site for site in state.sites if site.linears):
            basis, weights, problem = bases[site.name], [state.weight(linear) for linear in site.linears], None
            if self._looks_before:
                problem = self.composition.problem(state, site, basis, self.grid)
                weights = list(problem.weight.split([len(weight) for weight in weights]))
            for linear, weight in zip(site.linears, weights, strict=True):
                start.weights[linear], start.bases[linear] = weight, basis.of(linear)
                start.ends[linear] = range_ends(weight, problem) if problem else full_range(weight, self.grid)
        return start


def copies(inputs: list[BlockInput]) -> list[BlockInput]:
    """The same hidden states, to move on by themselves."""
    return [BlockInput(item.hidden, item.calls) for item in inputs]


def rotation_of(cell: Cell, block: int) -> Rotation | None:
    """The rotation of the residual stream that a block reads, on the cell's device."""
    found = cell.rotations
    return found.r1.to(cell.device) if found is not None and block in found.blocks else None


def statistics_before(block: nn.Module, sites: tuple[Site, ...], streams: Streams) -> dict[str, Tensor]:
    """The statistics of a float block's sites on the quantized stream, in the original basis."""
    with watching(block, sites, STATISTICS) as accumulators:
        for _ in run_block(block, streams.unrotated()):
            pass
    return {key: value for name, found in accumulators.items() for key, value in found.finish(name).items()}


def cross_moments(block: nn.Module, exact: nn.Module, sites: tuple[Site, ...], streams: Streams) -> dict[str, Tensor]:
    """``(X̃ - X)ᵀX / tokens`` of each site, float32 ``[n, n]``: X̃ in the float model, X in the quantized one.

    Tokens go to the experts that the quantized model chooses, in both.
    """
    wanted, seen = Caught(), Caught()
    totals: dict[str, Tensor] = {}
    tokens = dict.fromkeys((site.name for site in sites), 0)
    with showing(block, sites, seen.show), showing(exact, sites, wanted.show):
        for reference, item in zip(streams.exact, streams.quantized, strict=True):
            for _ in run_block(block, [item]):
                pass
            with routed_alike(exact, block):
                for _ in run_block(exact, [reference]):
                    pass
            for name, x in seen.rows.items():
                product = (wanted.rows[name] - x).T @ x
                totals[name] = totals[name] + product if name in totals else product
                tokens[name] += len(x)
    return {name: total / max(tokens[name], 1) for name, total in totals.items()}


class Caught:
    """The inputs of each site in the last forward pass, float32 ``[tokens, n]``."""

    def __init__(self) -> None:
        self.rows: dict[str, Tensor] = {}

    def show(self, site: str, x: Tensor) -> None:
        """Keep what a site reads."""
        self.rows[site] = x.flatten(0, -2).float()
