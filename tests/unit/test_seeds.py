"""Seeds of a grid entry: cells of their own, with keys that differ in nothing but the seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml
from clone import MODEL, REPOSITORY, TEST, TRAIN, config

from ptqbench import seeds, spec
from ptqbench.cells import Cell
from ptqbench.errors import UserError
from ptqbench.plan import Plan

ROTATED = {"transform": {"rotation": "hadamard"}, "rounding": "gptq"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("seeds")
    tiny.write_model(made / MODEL)
    for name in (TRAIN, TEST):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(tiny.text(3000, seed=1))
    return made


def grid(**extra: Any) -> dict[str, Any]:
    made = {**config(), "methods": {"gptq": {"rounding": "gptq"}, "rotated": ROTATED}}
    made["suites"] = {"perplexity": made["suites"]["perplexity"]}
    entry = {"models": ["tiny"], "methods": ["gptq", "rotated"], "schemes": ["w4g32"], "suites": ["perplexity"]}
    return {**made, "grid": [{**entry, **extra}]}


def planned(root: Path, **extra: Any) -> Plan:
    return Plan(grid(**extra), root=root, workflow=REPOSITORY)


def test_each_seed_is_a_cell_and_what_there_is_stays(root: Path) -> None:
    before, after = planned(root), planned(root, seeds=[0, 1, 2])
    assert set(before.cells) <= set(after.cells)
    new = [cell for cell in after.cells if cell not in before.cells]
    assert new == [Cell("tiny", f"text@seed{s}", m, "w4g32") for m in ("gptq", "rotated") for s in (1, 2)]
    for cell in before.cells:
        assert spec.evaluate_spec(after.config, *cell, "perplexity") == spec.evaluate_spec(
            before.config, *cell, "perplexity"
        )
    base = spec.quantize_spec(before.config, "tiny", "text", "rotated", "w4g32")
    found = spec.quantize_spec(after.config, "tiny", "text@seed2", "rotated", "w4g32")
    assert found["calibration"] == {**base["calibration"], "name": "text@seed2", "seed": 2}
    assert found["method"]["transform"] == [{**base["method"]["transform"][0], "seed": 2}]
    assert {key: found[key] for key in ("model", "scheme")} == {key: base[key] for key in ("model", "scheme")}
    assert after.texts("text@seed2") == before.texts("text")
    outputs = {str(path) for path in after.outputs(Path("r"))}
    assert "r/statistics/tiny/text@seed1/manifest.json" in outputs


def test_what_stands_for_all_seeds(root: Path) -> None:
    found = planned(root, seeds=[0, 1]).seeds
    whole = Cell("tiny", "text@seeds", "gptq", "w4g32")
    assert found[Cell("tiny", "text", "gptq", "w4g32")] == (whole, 0)
    assert found[Cell("tiny", "text@seed1", "gptq", "w4g32")] == (whole, 1)
    assert len(found) == 4
    assert planned(root).seeds == {}


def test_a_seed_that_the_config_gives_is_another(root: Path) -> None:
    made = grid(seeds=[0, 5])
    made["calibration"]["text"]["seed"] = 5
    cells = Plan(made, root=root, workflow=REPOSITORY).cells
    assert [cell.calibration for cell in cells if cell.method == "gptq"] == ["text@seed0", "text"]
    assert [cell.calibration for cell in cells if cell.method == "rotated"] == ["text@seed0", "text@seed5"]


def test_expanding_again_changes_nothing_and_a_config_without_seeds_is_its_own() -> None:
    made = grid(seeds=[0, 1])
    once = seeds.expanded(made)
    assert seeds.expanded(once) == once
    assert seeds.named(once) == list(made["calibration"])
    assert seeds.expanded(grid()) == grid()
    assert yaml.safe_dump(made) == yaml.safe_dump(grid(seeds=[0, 1])), "the config itself stays"


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"seeds": []}, r"grid\.0\.seeds is \[\]: name at least one"),
        ({"seeds": [1, 1]}, r"grid\.0\.seeds is .*: name each only once"),
        ({"seeds": [1.0]}, r"grid\.0\.seeds\.0 is 1\.0: it must be of type integer, written without a point"),
        ({"seeds": [-1]}, r"grid\.0\.seeds\.0 is -1: it must be at least 0"),
        ({"seeds": 3}, r"grid\.0\.seeds is 3: it must be of type array"),
        ({"seeds": [1], "calibration": ["texd"]}, r"grid\.0\.calibration names 'texd': did you mean 'text'"),
        ({"seeds": [1], "calibration": ["text@seed1"]}, r"grid\.0\.calibration names 'text@seed1'"),
    ],
)
def test_bad_seeds(root: Path, extra: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        planned(root, **extra)


def test_no_name_of_a_config_may_be_a_seeds(root: Path) -> None:
    made = grid()
    made["calibration"]["text@seed1"] = made["calibration"]["text"]
    with pytest.raises(UserError, match="has the name 'text@seed1'"):
        Plan(made, root=root, workflow=REPOSITORY)
