"""The jobs of a plan that are still to run, and what each takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptqbench import spec
from ptqbench.cells import Cell
from ptqbench.estimates import needs
from ptqbench.estimates.needs import Host, Need, Shown
from ptqbench.estimates.sizes import Size, size_of
from ptqbench.manifest import NAME
from ptqbench.plan import Plan
from ptqbench.recipe import Recipe

RULES = ("prepare", "calibrate", "statistics", "reference", "quantize", "export", "evaluate")


@dataclass(frozen=True)
class Job:
    """A job of the ``rule``: ``what`` it runs besides (a method, a kind of suite), and what it makes."""

    rule: str
    model: str
    what: str
    output: Path
    need: Need


def sizes(plan: Plan) -> dict[str, Size]:
    """The sizes of a plan's local models; one of the hub is known after it was fetched."""
    models = dict.fromkeys(cell.model for cell in plan.cells)
    lines = {model: plan.config["models"][model] for model in models}
    return {
        model: size_of(plan.root / line["path"], f"config: models.{model}.path")
        for model, line in lines.items()
        if "path" in line
    }


def jobs(plan: Plan, results: Path, host: Host, known: dict[str, Size]) -> Iterator[Job]:
    """Every job of models whose sizes are ``known``, in the chain's order; diagnoses and the report take little."""
    cells = [cell for cell in plan.cells if cell.model in known]
    quantized = [cell for cell in cells if spec.is_ours(cell)]
    for model in dict.fromkeys(cell.model for cell in cells):
        yield Job("prepare", model, "", results / "models" / model / NAME, needs.prepare(host))
    for model, name in dict.fromkeys((cell.model, cell.calibration) for cell in quantized):
        shown = _shown(plan, name)
        output = results / "calibration" / model / name / NAME
        yield Job("calibrate", model, "", output, needs.calibrate(host, shown))
        output = results / "statistics" / model / name / NAME
        yield Job("statistics", model, "", output, needs.statistics(known[model], host, shown))
    for model, suite in plan.references:
        if model in known:
            need = needs.reference(known[model], host, plan.config["suites"][suite])
            yield Job("reference", model, "", results / "reference" / model / suite / NAME, need)
    for cell in dict.fromkeys(map(plan.codes, quantized)):
        made = spec.quantize_spec(plan.config, *cell)
        recipe, shown = Recipe.of(made["method"]), _shown(plan, cell.calibration)
        need = needs.quantize(known[cell.model], host, recipe, made["scheme"], shown)
        yield Job("quantize", cell.model, cell.method, results / "quantized" / cell.path / NAME, need)
    for cell in cells:
        need = _export(plan, cell, results, host, known[cell.model])
        yield Job("export", cell.model, "", results / "packed" / cell.path / NAME, need)
    for cell, suite in plan.evaluations:
        if cell.model in known:
            settings = plan.config["suites"][suite]
            served = spec.backend_of(plan.config, suite) != "transformers"
            need = needs.evaluate(known[cell.model], host, settings, served)
            yield Job("evaluate", cell.model, settings["kind"], results / "eval" / cell.path / f"{suite}.json", need)


def left(every: Iterator[Job]) -> list[Job]:
    """Those whose output is not there."""
    return [job for job in every if not job.output.is_file()]


def _shown(plan: Plan, calibration: str) -> Shown:
    settings: dict[str, Any] = plan.config["calibration"][calibration]
    return Shown(int(settings["samples"]), int(settings.get("sequence_length", needs.IMAGE_TOKENS)))


def _export(plan: Plan, cell: Cell, results: Path, host: Host, size: Size) -> Need:
    if not spec.is_ours(cell):
        return Need(host.start, host=needs.BARE)
    made = spec.export_spec(plan.config, *cell, plan.model_type(cell.model, results))
    turned = needs.turns(Recipe.of(made["method"]))
    return needs.export(size, host, made["scheme"], made["rows"][0]["format"], turned and size.tied)
