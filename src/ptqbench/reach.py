"""The modules that a stage reaches by a name in its spec: invisible to the import graph, and part of its cache key.

The plan and the stage itself ask here, so that what is planned by is what is stored. Imports no more than it must:
every stage's key has this file.
"""

from __future__ import annotations

from typing import Any

from ptqbench.recipe import Recipe
from ptqbench.schemes import modules

PROPAGATE, MIXED = "ptqbench.drive.propagate", "ptqbench.drive.mixed"
RUN_MODELS = ("statistics", "reference", "quantize", "export", "diagnose")  # by an adapter


def roots(stage: str, spec: dict[str, Any], adapter: str | None = None) -> list[str]:
    """The module of a stage and those that it imports by name: where its fingerprint begins.

    ``adapter`` is the model's; None for one of the hub that nothing was made of yet.
    """
    found = [f"ptqbench.stages.{stage}"]
    if adapter and stage in RUN_MODELS:
        found.append(f"ptqbench.models.adapters.{adapter}")
    if stage == "statistics":
        found += [f"ptqbench.statistics.{name}" for name in spec["statistics"]]
    if stage in ("quantize", "diagnose"):
        found += Recipe.of(spec["method"]).modules
    if stage == "quantize":
        found += drivers(Recipe.of(spec["method"]), spec["scheme"])
    if stage in ("quantize", "export", "diagnose"):
        found += modules(spec["scheme"])
    if stage == "export":
        found += formats(spec)
    if stage == "evaluate":
        found += evaluation(spec)
    return found


def drivers(recipe: Recipe, scheme: dict[str, Any]) -> list[str]:
    """What quantizes a cell besides ``drive.cell``: only cells that need it reach it."""
    found = [PROPAGATE] if recipe.propagate else []
    return [*found, MIXED] if scheme["bits"] == "mixed" else found


def formats(cell: dict[str, Any]) -> list[str]:
    """What an export may write, from its spec; nothing for the float model."""
    names = {row["format"] for row in cell["rows"]} | {"dense"} if "rows" in cell else set()
    return sorted(f"ptqbench.formats.{name}" for name in names)


def evaluation(spec: dict[str, Any]) -> list[str]:
    """The kind of suite, and the backend that runs it."""
    backend = spec["backend"].partition("-")[0]
    return [f"ptqbench.evaluation.{spec['suite']['kind']}", f"ptqbench.evaluation.backends.{backend}"]
