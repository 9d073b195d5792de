"""What every linear of a cell, and every transform on its way, looks like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from ptqbench.artifacts.cell import QuantizedCell
from ptqbench.artifacts.linear import QuantizedLinear
from ptqbench.diagnosis import measures
from ptqbench.drive.cell import Cell
from ptqbench.methods.basis import SiteBasis
from ptqbench.methods.composition import name_of
from ptqbench.methods.contracts import BlockTransform, SiteTransform, StreamTransform
from ptqbench.methods.state import BlockState
from ptqbench.models.adapter import Site

Row = dict[str, Any]


def code_rows(cell: QuantizedCell) -> dict[str, Row]:
    """By checkpoint name of a linear: how its codes use the grid."""
    return {name: code_row(linear) for name, linear in cell.linears()}


def code_row(linear: QuantizedLinear) -> Row:
    """Entropy over bits, the share of levels that occur in a group, and the share of codes at the grid's ends."""
    return {
        "bits": linear.bits,
        "code_entropy": measures.code_entropy(linear.codes, linear.bits),
        "levels_used": measures.levels_used(linear.codes, linear.group_size, linear.bits),
        "edge_share": measures.edge_share(linear.codes, linear.grid.edges),
    }


def site_rows(state: BlockState, statistics: Path) -> dict[str, Row]:
    """By site: tokens seen, the conditioning of H, and the tails of its inputs in the float model."""
    tensors = load_file(statistics / f"block-{state.index:03d}.safetensors")
    found = {}
    for site in state.sites:
        hessian = state.statistics[site.name].hessian
        condition, rank = measures.conditioning(hessian)
        kurtosis = tensors.get(f"{site.name}.kurtosis")
        found[site.name] = {
            "tokens": state.statistics[site.name].tokens,
            "condition": condition,
            "effective_rank": rank,
            "channels": len(hessian),
            "input_kurtosis": None if kurtosis is None else float(kurtosis.double().median()),
        }
    return found


def transform_rows(cell: Cell, state: BlockState) -> list[Row]:
    """One row per linear before any transform and after each; ``state`` is left as the last one leaves it."""
    rows = look(cell, state, "none", {})
    inside = []
    for transform in cell.composition.transforms:
        if isinstance(transform, BlockTransform | StreamTransform):
            cell.apply(transform, state)
            rows += look(cell, state, name_of(transform), {})
        if isinstance(transform, SiteTransform):
            inside.append(name_of(transform))
    if inside:
        bases = {site.name: cell.composition.basis(state, site) for site in state.sites}
        rows += look(cell, state, " + ".join(inside), bases)
    return rows


def look(cell: Cell, state: BlockState, stage: str, bases: dict[str, SiteBasis]) -> list[Row]:
    """Tails of every weight and outliers of every input, as they stand."""
    return [row for site in state.sites for row in look_at(cell, state, site, stage, bases.get(site.name))]


def look_at(cell: Cell, state: BlockState, site: Site, stage: str, basis: SiteBasis | None) -> list[Row]:
    """The rows of one site."""
    basis = basis or SiteBasis(state.channel_scale.get(site.name))
    count, largest = measures.outliers(measures.channel_size(basis.moment(state.statistics[site.name].hessian)))
    rows = []
    for linear in site.linears:
        weight: Tensor = basis.of(linear).forward(state.weight(linear))
        rows.append(
            {
                "linear": f"{state.index}.{linear}",
                "stage": stage,
                "weight_kurtosis": measures.kurtosis(weight),
                "weight_reach": measures.reach(cell.grid.grouped(weight)),
                "input_outliers": count,
                "input_largest": largest,
            }
        )
    return rows
