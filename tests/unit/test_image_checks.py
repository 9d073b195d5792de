"""What is calibrated on images is checked before any work, and what is scored was never shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import tiny_images
import tiny_models

from ptqbench.data.images import Item, write_items
from ptqbench.data.pairs import choose
from ptqbench.errors import UserError
from ptqbench.plan import Plan

SCHEMA = Path(__file__).parents[2] / "workflow/schemas/config.schema.yaml"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    tower = {"hidden_size": 32, "intermediate_size": 128}
    tiny_models.make_model(folder / "seeing", "llava", vocabulary=300, tower=tower)
    tiny.write_model(folder / "blind")
    (folder / "train.txt").write_text(tiny.text(3000))
    images = [tiny_images.png((shade, 0, 0)) for shade in range(0, 200, 20)]
    items = [Item(image, f"what is {n}?", ("red",)) for image in images for n in range(3)]
    write_items(folder / "questions.parquet", items)
    (folder / "workflow/schemas").mkdir(parents=True)
    (folder / "workflow/schemas/config.schema.yaml").write_text(SCHEMA.read_text())
    return folder


def config(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "models": {"seeing": {"path": "seeing"}, "whole": {"path": "seeing", "vision_tower": True}},
        "calibration": {
            "text": {"corpus": "train.txt", "samples": 2, "sequence_length": 16},
            "pairs": {"questions": "questions.parquet", "samples": 4},
        },
        "schemes": {"w4": {"bits": 4}, "w8": {"bits": 8, "symmetric": True}, "w4g64": {"bits": 4, "group_size": 64}},
        "methods": {"gptq": {"rounding": "gptq"}, "smoothquant": {"transform": "smooth", "activations": "int8"}},
        "suites": {"vqa": {"kind": "images", "questions": {"q": "questions.parquet"}, "limit": 18}},
        "grid": [entry()],
        "backend": "transformers",
    }
    found["models"] |= changes.pop("models", {})
    found["calibration"] |= changes.pop("calibration", {})
    return found | changes


def entry(**changes: Any) -> dict[str, Any]:
    names = {"models": ["seeing", "whole"], "calibration": ["pairs"], "methods": ["gptq"], "schemes": ["w4"]}
    return {**names, "suites": ["vqa"], **changes}


def refused(root: Path, changed: dict[str, Any]) -> str:
    with pytest.raises(UserError) as raised:
        Plan(changed, root)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_plan_on_images(root: Path) -> None:
    plan = Plan(config(), root)
    assert [cell.path for cell, _ in plan.evaluations if cell.method != "float"] == [
        "seeing/pairs/gptq/w4",
        "whole/pairs/gptq/w4",
    ]
    assert list(plan.texts("pairs")) == ["questions.parquet"]


@pytest.mark.parametrize("limit", [19, 30, None])
def test_scoring_an_image_that_calibration_has_shown_is_refused(root: Path, limit: int | None) -> None:
    """The last 4 of 10 images, with 3 questions each: whatever asks beyond the 18th is about one of them."""
    suite = {"kind": "images", "questions": {"q": "questions.parquet"}} | ({"limit": limit} if limit else {})
    line = refused(root, config(suites={"vqa": suite}))
    assert line == (
        "config: suites.vqa.questions.q asks about images that calibration.pairs has shown the model, from question 18 "
        "on: set the suite's limit to at most 18"
    )


def test_a_copy_of_the_file_does_not_help(root: Path) -> None:
    reversed_items = [item for _, item in reversed(choose(str(root / "questions.parquet"), 10, 1))]
    write_items(root / "copy.parquet", reversed_items)
    suites = {"vqa": {"kind": "images", "questions": {"q": "copy.parquet"}, "limit": 1}}
    assert "from question 0 on: calibrate on another file" in refused(root, config(suites=suites))


def test_cells_calibrated_on_text_may_be_scored_on_everything(root: Path) -> None:
    suites = {"vqa": {"kind": "images", "questions": {"q": "questions.parquet"}}}
    Plan(config(suites=suites, grid=[entry(models=["seeing"], calibration=["text"])]), root)


def test_a_model_of_text_is_refused(root: Path) -> None:
    changed = config(models={"blind": {"path": "blind"}}, grid=[entry(models=["blind"])])
    assert refused(root, changed).startswith(
        "config: calibration.pairs asks questions about images, and model 'blind' reads text alone: name a calibration"
    )


def test_a_tower_that_is_not_there(root: Path) -> None:
    changed = config(models={"blind": {"path": "blind", "vision_tower": True}}, grid=[entry(models=["blind"])])
    assert refused(root, changed) == (
        "config: models.blind.vision_tower is true, and the model has no vision tower: remove the key"
    )


def test_text_never_reaches_a_tower(root: Path) -> None:
    changed = config(grid=[entry(models=["whole"], calibration=["text"])])
    assert "models.whole.vision_tower is true, and calibration.text is text, which never" in refused(root, changed)


def test_int8_activations_of_a_dequantized_tower(root: Path) -> None:
    changed = config(grid=[entry(methods=["smoothquant"], schemes=["w8"])])
    assert "models.whole.vision_tower is true, and method 'smoothquant' has int8 activations" in refused(root, changed)
    Plan(config(grid=[entry(models=["seeing"], methods=["smoothquant"], schemes=["w8"])]), root)


def test_groups_must_divide_the_tower_too(root: Path) -> None:
    Plan(config(grid=[entry(models=["seeing"], schemes=["w4g64"])]), root)
    line = refused(root, config(grid=[entry(models=["whole"], schemes=["w4g64"])]))
    assert "does not divide the 32 input channels of vision_tower.vision_model.encoder.layers.0.self_attn" in line


def test_mixed_widths_and_diagnosis_are_of_text(root: Path) -> None:
    for calibration in ("text", "pairs"):
        refuse_what_is_of_text(root, calibration)


def refuse_what_is_of_text(root: Path, calibration: str) -> None:
    mixed = {"mixed": {"bits": "mixed", "budget": 3.0, "choices": [2, 4]}}
    changed = config(schemes=mixed, grid=[entry(models=["seeing"], calibration=[calibration], schemes=["mixed"])])
    assert (
        "schemes.mixed.bits is 'mixed', which is chosen for models of text alone, and model 'seeing' sees"
        in refused(root, changed)
    )
    suites = config()["suites"] | {"ppl": {"kind": "perplexity", "corpora": {"t": "train.txt"}, "window": 16}}
    changed = config(
        suites=suites, grid=[entry(models=["seeing"], calibration=[calibration], suites=["vqa", "ppl"], diagnose=True)]
    )
    assert "with diagnose: true names model 'seeing', which sees images" in refused(root, changed)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"questions": "no.parquet", "samples": 2}, "questions is 'no.parquet', and there is no such file"),
        ({"questions": "pope", "samples": 2}, "questions is 'pope', no .parquet or .jsonl file and no set to train on"),
        ({"questions": "questions.parquet", "samples": 11}, "it has 10 images, fewer than samples: set samples to"),
        ({"questions": "questions.parquet", "samples": 2, "sequence_length": 8}, "give either corpus with sequence_l"),
        ({"samples": 2}, "give either corpus with sequence_length or questions"),
        ({"questions": "questions.parquet"}, "calibration.pairs lacks the key 'samples': add it"),
        ({"corpus": "train.txt", "samples": 2}, "give either corpus with sequence_length or questions"),
    ],
)
def test_calibration_lines(root: Path, settings: dict[str, Any], words: str) -> None:
    line = refused(root, config(calibration={"pairs": settings}))
    assert words in line
    assert line.startswith("config: calibration.pairs")
