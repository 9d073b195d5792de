"""Scores of answers to questions about images, by hand-made cases; prompts and answers of models that see."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_images
import tiny_models
import torch
from PIL import Image

from ptqbench.data.hub_images import QUESTIONS, _items
from ptqbench.data.images import LETTER, SHORT_ANSWER, Item, decode, write_items
from ptqbench.evaluation import images
from ptqbench.evaluation.backends.text import VICUNA
from ptqbench.evaluation.backends.transformers import Backend
from ptqbench.evaluation.greedy import greedy
from ptqbench.pocket import vision

PICTURE = Image.new("RGB", (4, 4), (255, 0, 0))


@pytest.mark.parametrize(
    ("answer", "expected"), [("red", 1), (" Red.", 1), ("reddish", 0), ("", 0), ("the red one", 0), ("RED", 1)]
)
def test_exact(answer: str, expected: float) -> None:
    assert images.exact(("red",), answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("B", 1), ("B.", 1), ("(B) a dog", 1), ("b", 1), ("B: a dog", 1), ("Both", 0), ("A", 0), ("", 0), ("a B", 0)],
)
def test_letter(answer: str, expected: float) -> None:
    assert images.letter(("B",), answer) == expected


def test_votes_leave_one_out() -> None:
    said = ("cat",) * 3 + ("dog",) * 7
    assert images.votes(said, "Dog") == 1.0
    # leaving out one of the three who said cat, two remain: 2/3; leaving out another, three: 1
    assert images.votes(said, "cat") == pytest.approx((3 * 2 / 3 + 7 * 1) / 10)
    assert images.votes(said, "bird") == 0.0


def test_rows_of_a_set_with_categories() -> None:
    items = [Item(b"", "?", (right,), category=kind) for right, kind in [("yes", "a"), ("no", "a"), ("no", "b")]]
    whole, first, second, f1 = images.summary("pope", items, ["yes", "yes", "no"])
    assert (whole["task"], whole["metric"], whole["value"], whole["n"]) == ("pope", "acc", pytest.approx(2 / 3), 3)
    assert whole["items"] == [1.0, 0.0, 1.0]
    assert whole["answers"] == ["yes", "yes", "no"]
    assert [(row["task"], row["value"]) for row in (first, second)] == [("pope/a", 0.5), ("pope/b", 1.0)]
    assert f1["value"] == pytest.approx(2 / 3)  # precision 1/2, recall 1
    assert whole["stderr"] == pytest.approx((2 / 9 / 2) ** 0.5)


def test_a_suite_asks_in_batches_and_stops_at_the_limit(tmp_path: Path) -> None:
    write_items(tmp_path / "colours.parquet", tiny_images.items())
    sizes: list[int] = []

    def answers(items: list[Item], limit: int) -> list[str]:
        sizes.append(len(items))
        assert limit == 4
        return [item.answers[0] for item in items]

    settings = {"questions": {"colours": str(tmp_path / "colours.parquet")}, "batch_size": 2, "max_tokens": 4}
    (row,) = images.run(SimpleNamespace(answers=answers), {"name": "s", "limit": 5, **settings})
    assert sizes == [2, 2, 1]
    assert (row["value"], row["n"]) == (1.0, 5)


ROWS: dict[str, dict[str, Any]] = {
    "scienceqa": {"image": PICTURE, "question": "Q?", "choices": ["x", "y"], "answer": 1, "hint": "H"},
    "textvqa": {"image": PICTURE, "question": "what?", "answers": ["a"] * 10, "ocr_tokens": ["S", "T"]},
    "mmbench": {
        "image": PICTURE,
        "question": "Q?",
        "hint": "nan",
        "answer": "A",
        "A": "x",
        "B": "y",
        "C": "nan",
        "D": None,
    },
    "pope": {"image": PICTURE, "question": "Is it?", "answer": "no", "category": "popular"},
}
EXPECTED = {
    "scienceqa": ("Context: H\nQ?\nA. x\nB. y", ("B",), LETTER, "letter", ""),
    "textvqa": ("What?\nReference OCR token: S, T", ("a",) * 10, SHORT_ANSWER, "votes", ""),
    "mmbench": ("Q?\nA. x\nB. y", ("A",), LETTER, "letter", ""),
    "pope": ("Is it?", ("no",), SHORT_ANSWER, "exact", "popular"),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_rows_of_the_hub_become_questions(name: str) -> None:
    (item,) = _items([ROWS[name]], QUESTIONS[name])
    assert tuple(item[1:]) == EXPECTED[name]
    assert decode(item.image).tolist() == [[[255, 0, 0]] * 4] * 4


def test_scienceqa_without_an_image_is_left_out() -> None:
    assert list(_items([{**ROWS["scienceqa"], "image": None}], QUESTIONS["scienceqa"])) == []


@pytest.mark.parametrize("family", ["llava", "vila"])
def test_the_backend_asks_as_the_model_was_trained(tmp_path: Path, family: str) -> None:
    tiny_models.make_model(tmp_path, family)
    backend = Backend(tmp_path, "cpu", False)
    items = tiny_images.items()
    found = backend.answers(items, 3)
    assert len(found) == len(items)
    place = {"llava": backend.tokenizer.convert_tokens_to_ids("<image>"), "vila": -200}[family]
    ids = vision.encode_prompt(backend.tokenizer, items[0].question, (place, {"llava": 16, "vila": 4}[family]))
    pixels = vision.normalized(torch.from_numpy(decode(items[0].image).copy()).permute(2, 0, 1).unsqueeze(0))
    expected = greedy(backend.model, torch.tensor([ids]), pixels, [0], 3)[0]
    assert found[0] == backend.tokenizer.decode(expected, skip_special_tokens=True).strip()


def test_a_checkpoint_without_a_chat_template_gets_vicunas(tmp_path: Path) -> None:
    tiny_models.make_model(tmp_path, "vila")
    (tmp_path / "llm" / "chat_template.jinja").unlink()
    backend = Backend(tmp_path, "cpu", False)
    expected = f"{VICUNA}USER: <image>\nwhat color is it?{SHORT_ANSWER} ASSISTANT:"
    assert backend.prompt(tiny_images.items()[0]) == expected
