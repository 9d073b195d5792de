"""Whatever a config says, planning answers with a plan or with one line, and soon."""

from __future__ import annotations

import copy
import random
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from clone import REPOSITORY, Clone, config
from mutated import mutated
from soak import SOAK, count

from ptqbench.errors import LONGEST, UserError
from ptqbench.evaluation import runtime
from ptqbench.plan import Plan

FILES = [REPOSITORY / "config.yaml", *sorted(REPOSITORY.glob("workflow/presets/*.yaml"))]
BACKENDS = ("auto", "vllm", "vllm-cuda", "vllm-cpu", "transformers")


def answer(given: dict[str, Any], root: Path) -> str | None:
    """The one line that refuses a config, or None for a plan."""
    begun = time.monotonic()
    try:
        runtime.settle(given, root)
        Plan(given, root)
        found = None
    except UserError as error:
        found = str(error)
    assert time.monotonic() - begun < 20
    return found


def look(found: str | None, given: dict[str, Any]) -> None:
    assert found is None or (found.isprintable() and len(found) <= LONGEST and ": " in found), (found, given)


@pytest.mark.timeout(0 if SOAK else 600)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_mutations_of_every_config_of_the_repository(file: Path) -> None:
    rng, sound = random.Random(0), yaml.safe_load(file.read_text(encoding="utf-8"))
    refused = 0
    for _ in range(count(15, 500)):
        given = mutated(sound, rng)
        found = answer(copy.deepcopy(given), REPOSITORY)
        look(found, given)
        refused += found is not None
    assert refused > 5


@pytest.mark.timeout(0 if SOAK else 600)
def test_mutations_of_a_small_config(blank: Clone) -> None:
    rng = random.Random(1)
    for _ in range(count(80, 3000)):
        given = mutated(config(), rng)
        given.setdefault("backend", rng.choice(BACKENDS))
        look(answer(copy.deepcopy(given), blank.root), given)
