"""Why cells score as they do: the tables of the diagnosis, and what they say in sentences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ptqbench.cells import Cell
from ptqbench.errors import UserError
from ptqbench.manifest import verify
from ptqbench.records import Diagnosis as Record
from ptqbench.records import PlannedDiagnosis
from ptqbench.reporting.markup import short
from ptqbench.reporting.names import DIAGNOSIS, anchor

TABLES = ("layers", "transforms", "growth", "restored")
NAMED = 3  # how many layers and blocks the summary names


@dataclass
class Diagnosis:
    """The tables of one cell."""

    cell: Cell
    layers: pl.DataFrame
    transforms: pl.DataFrame
    growth: pl.DataFrame
    restored: pl.DataFrame

    @property
    def page(self) -> str:
        """The file's name."""
        return f"{anchor(self.cell)}.html"

    @property
    def total(self) -> float:
        """KL to the float model with every block quantized."""
        return float(self.growth["kl"][-1])


def read_diagnoses(planned: list[PlannedDiagnosis], root: Path) -> list[Diagnosis]:
    """What the stage wrote for each planned cell.

    Raises :class:`UserError` for what was made from another configuration.
    """
    found = []
    for one in planned:
        folder = root / "diagnosis" / "/".join(one["cell"])
        if verify(folder / "manifest.json", Record)["spec"] != one["spec"]:
            raise UserError(f"{folder} was made from another configuration than the present one: run snakemake again")
        tables = {name: pl.read_parquet(folder / f"{name}.parquet") for name in TABLES}
        found.append(Diagnosis(Cell(*one["cell"]), **tables))
    return found


def addresses(diagnoses: list[Diagnosis]) -> dict[Cell, str]:
    """Where each cell's page is, from the report."""
    return {one.cell: f"{DIAGNOSIS}/{one.page}" for one in diagnoses}


def summary(one: Diagnosis) -> list[str]:
    """What the tables say, in sentences whose every number is theirs."""
    ranking = ranked(one)
    gains = [f"block {row['block']} ({100 * row['share']:.0f} %)" for row in ranking.head(NAMED).to_dicts()]
    losses = sorted(one.layers.select("proxy_loss", "linear").rows(), reverse=True)
    whole = sum(loss for loss, _ in losses)
    names = [f"{name} ({100 * loss / whole:.0f} %)" for loss, name in losses[:NAMED]]
    worst = one.layers.sort("snr_db").head(NAMED)
    noisy = [f"{row['linear']} ({row['snr_db']:.1f} dB)" for row in worst.to_dicts()]
    nearest, entropy, bits, edges = one.layers.select(
        pl.col("nearest_proxy_loss").sum(), pl.col("code_entropy", "bits", "edge_share").mean()
    ).row(0)
    said = [
        f"The cell is {short(one.total, 3)} nats per token from the float model on held-out text.",
        f"Made float again alone, these blocks give most of that back: {', '.join(gains)}.",
        f"These layers hold most of the proxy loss: {', '.join(names)}.",
        f"The noisiest outputs: {', '.join(noisy)}.",
        f"The whole proxy loss is {short(whole / nearest, 3)} of that of plain nearest rounding.",
        f"Codes carry {entropy:.2f} of {bits:.3g} bits on average; {100 * edges:.0f} % lie at the ends of the grid.",
    ]
    return said + [effect(one, stage) for stage in one.transforms["stage"].unique(maintain_order=True)[1:]]


def effect(one: Diagnosis, stage: str) -> str:
    """What a transform did to weights and inputs, on average over linears."""
    names = ("weight_kurtosis", "weight_reach", "input_outliers")
    means = [
        one.transforms.filter(pl.col("stage") == which).select(pl.col(names).mean()).row(0) for which in ("none", stage)
    ]
    changes = [
        f"{name.replace('_', ' ')} {short(a, 3)} → {short(b, 3)}" for name, a, b in zip(names, *means, strict=True)
    ]
    return f"Up to {stage}, on average over linears: {', '.join(changes)}."


def ranked(one: Diagnosis) -> pl.DataFrame:
    """Blocks by how much of the KL goes when they are float again; ``share`` is of the whole KL."""
    gain = one.total - pl.col("kl")
    shared = one.restored.with_columns(gain=gain, share=gain / max(one.total, 1e-30))
    return shared.sort("gain", descending=True)
