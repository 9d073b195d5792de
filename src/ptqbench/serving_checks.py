"""Checks that every suite can measure every cell that it is asked to, and read its checkpoint, before any work.

Each ``check_…`` raises :class:`UserError` for what is not so as its docstring says.
"""

from __future__ import annotations

from typing import Any

from ptqbench import spec
from ptqbench.errors import UserError, about
from ptqbench.formats.choice import Row, candidates, choose, formats, served
from ptqbench.formats.layout import Layout
from ptqbench.members import members

Config = dict[str, Any]


def check_serving(config: Config, cell: tuple[str, ...], suite: str, model_type: str | None) -> None:
    """A suite's kind runs on the backend that evaluates the cell, which reads the format that it is exported in.

    ``model_type`` is None for a model of the hub, whose type is not known yet.
    """
    layout, at = Layout.of(spec.quantize_spec(config, *cell)), spec.backend_of(config, suite)
    backend, readable = served(at, layout, model_type)
    kind = config["suites"][suite]["kind"]
    kinds: tuple[str, ...] = members("evaluation")[kind].get("BACKENDS", (at, backend))
    if at not in kinds:
        raise UserError(
            f"config: suites.{suite}.kind is '{kind}', which backend '{at}' does not measure: "
            f"set backend to vllm, there or for the suite"
        )
    if backend not in kinds:
        raise UserError(
            f"config: suites.{suite}.kind is '{kind}', and '{at}' serves no '{model_type}' model, of which "
            f"'{backend}' does not measure it: leave the suite out for model '{cell[0]}'"
        )
    if not spec.is_ours(cell):
        return
    row = _row(config, cell, layout, model_type)
    _check_parallel(config, cell, row, backend)
    if row["format"] not in readable:
        where = f"config: schemes.{cell[3]} with method '{cell[2]}'"
        if not readable:
            raise UserError(_not_served(where, at, layout, "auto", model_type))
        raise UserError(
            f"{where} is exported as {row['format']} for backend '{spec.backend_of(config)}', which backend "
            f"'{backend}' of suite '{suite}' does not read: give the scheme a format, one of {', '.join(readable)}"
        )


def _row(config: Config, cell: tuple[str, ...], layout: Layout, model_type: str | None) -> Row:
    """How the cell is exported; of a type that is not known yet, as most are."""
    where, asked = f"config: schemes.{cell[3]} with method '{cell[2]}'", spec.format_of(config, cell[3])
    backend = spec.backend_of(config)
    rows = candidates(backend, layout, asked, model_type)
    if not rows:
        raise UserError(_not_served(where, backend, layout, asked, model_type))
    with about(where):
        row = choose(rows[-1:], asked, model_type or "")
    if layout.activations != "none" and row["format"] == "dense":
        raise UserError(_not_served(where, backend, layout, asked, model_type))
    return row


def _check_parallel(config: Config, cell: tuple[str, ...], row: Row, backend: str) -> None:
    gpus = spec.gpus(config, cell[0])
    if "transform" in row and gpus > 1 and backend.startswith("vllm"):
        raise UserError(
            f"config: models.{cell[0]}.gpus is {gpus}, and method '{cell[2]}' transforms inputs at run time, which "
            f"vLLM does not compute on several GPUs: give scheme '{cell[3]}' the format dense"
        )


def _not_served(where: str, backend: str, layout: Layout, asked: str, model_type: str | None) -> str:
    quantized = layout.activations != "none"
    what = f"its {layout.activations} activations" if quantized else f"format '{asked}'"
    found = formats(backend, layout, model_type)
    held = [name for name in found if name != "dense" or layout.activations == "none"]
    remedy = ", ".join(["auto", *held]) if held else "another scheme or backend"
    whose = f"of a '{model_type}' model " if model_type else ""
    return f"{where}: backend '{backend}' does not serve {what} {whose}at that width and granularity: use {remedy}"
