"""Seeds of a grid entry: each makes cells of its own, which differ in their calibration set's name.

``seeds: [0, 1]`` makes of the set ``wikitext2`` a set ``wikitext2@seed1``, drawn with that seed, and every member of a
method that takes a seed (rotations, what is trained) gets it too. A seed that the entry would have had anyway keeps the
cell's own name, and so its artifacts. Without torch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ptqbench.normalize import normalize
from ptqbench.recipe import Member, Recipe

MARK, ALL = "@seed", "@seeds"  # no name of a config has an @
KEY = "cell_seed"  # of a derived set: what every seed of its cells is

Config = dict[str, Any]


def expanded(config: Config) -> Config:
    """The config with a calibration set for each seed of its grid; the same for a config without seeds."""
    found = dict(config["calibration"])
    for block in config["grid"]:
        for name in block.get("calibration", named(config)):
            for seed in block.get("seeds", ()):
                if name in named(config):  # an unknown name is told by the plan
                    found[f"{name}{MARK}{seed}"] = {**config["calibration"][name], "seed": seed, KEY: seed}
    return {**config, "calibration": found}


def named(config: Config) -> list[str]:
    """The calibration sets that the config itself names."""
    return [name for name in config["calibration"] if MARK not in name]


def base(calibration: str) -> str:
    """The name that a set has in the config."""
    return calibration.partition(MARK)[0]


def calibration_of(config: Config, calibration: str, method: str, seed: int | None) -> str:
    """The set of a cell with a seed: the config's own where that cell has the seed anyway."""
    if seed is None:
        return calibration
    settings = [member.parameters for _, member in normalize(method, config["methods"][method]).members]
    own = {config["calibration"][calibration].get("seed", 0), *(one["seed"] for one in settings if "seed" in one)}
    return calibration if own == {seed} else f"{calibration}{MARK}{seed}"


def settings(calibration: dict[str, Any]) -> dict[str, Any]:
    """A set as its stage takes it."""
    return {key: value for key, value in calibration.items() if key != KEY}


def seeded(recipe: Recipe, seed: int | None) -> Recipe:
    """A recipe whose members have the seed, where they take one."""
    if seed is None:
        return recipe

    def with_seed(member: Member) -> Member:
        return (
            replace(member, parameters={**member.parameters, "seed": seed}) if "seed" in member.parameters else member
        )

    transforms = tuple(map(with_seed, recipe.transforms))
    return replace(recipe, transforms=transforms, range=with_seed(recipe.range), rounding=with_seed(recipe.rounding))
