"""Every study compares what is equal: beside a rotation with a searched range stands the same search without it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from ptqbench.normalize import normalize

REPOSITORY = Path(__file__).parents[2]
PRESETS = REPOSITORY / "workflow/presets"
CONFIGS = {
    "config.yaml": [REPOSITORY / "config.yaml"],
    **{file.name: [file] for file in sorted(PRESETS.glob("*.yaml"))},
    **{f"paper/{file.name}": [PRESETS / "paper.yaml", file] for file in sorted((PRESETS / "paper").glob("*.yaml"))},
}
SEARCHED = "mse"  # the range that rotations are published with


def merged(files: list[Path]) -> dict[str, Any]:
    """The files as Snakemake puts them together: mappings are merged, lists replaced."""
    found: dict[str, Any] = {}
    for file in files:
        for key, value in yaml.safe_load(file.read_text()).items():
            found[key] = {**found.get(key, {}), **value} if isinstance(value, dict) else value
    return found


def evaluations(config: dict[str, Any]) -> set[tuple[str, ...]]:
    """``(method, model, calibration, scheme, suite)`` of the whole grid."""
    return {
        evaluation
        for block in config["grid"]
        for evaluation in product(
            block["methods"],
            block["models"],
            block.get("calibration", list(config["calibration"])),
            block["schemes"],
            block["suites"],
        )
    }


@pytest.mark.parametrize("name", CONFIGS)
def test_a_rotation_with_a_searched_range_has_its_twin_without_one_in_the_same_grid(name: str) -> None:
    config = merged(CONFIGS[name])
    recipes = {method: normalize(method, settings) for method, settings in config["methods"].items()}
    asked = evaluations(config)
    for method, *cell in sorted(asked):
        recipe = recipes[method]
        rotates = any(member.name.startswith("rotation") for member in recipe.transforms)
        if recipe.range.name != SEARCHED or not rotates:
            continue
        wanted = replace(recipe, transforms=())
        twins = [other for other, own in recipes.items() if own == wanted]
        assert any((twin, *cell) in asked for twin in twins), f"{name}: {method} on {cell} has no twin of {wanted}"


@pytest.mark.parametrize("name", ["config.yaml", "strategies.yaml"])
def test_the_twins_of_the_study_are_there_shared_and_propagated(name: str) -> None:
    methods = merged(CONFIGS[name])["methods"]
    assert methods["gptq+mse"] == {"range": SEARCHED, "rounding": "gptq"}
    assert methods["gptq+mse-propagated"] == {"range": SEARCHED, "rounding": "gptq", "propagate": True}
    assert any(method == "gptq+mse" for method, *_ in evaluations(merged(CONFIGS[name])))
