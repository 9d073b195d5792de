"""Calibration pairs come from the end of their source, and what they show is found again among what is asked."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import tiny_images

from ptqbench.data.images import SHORT_ANSWER, Item, write_items
from ptqbench.data.pairs import (
    Pair,
    choose,
    first_seen,
    last_images,
    read_pairs,
    read_questions,
    tokenized,
    write_pairs,
)
from ptqbench.errors import UserError


def asked(images: int = 10, each: int = 4) -> list[Item]:
    return [Item(bytes([image]), f"question {n}", (str(n),)) for image in range(images) for n in range(each)]


def test_one_question_on_each_of_the_last_images() -> None:
    items = asked()
    places = last_images(items, 3, seed=0)
    assert [place // 4 for place in places] == [7, 8, 9], "the last three images, in their order"
    assert places == last_images(items, 3, seed=0)
    assert len({tuple(place % 4 for place in last_images(items, 3, seed)) for seed in range(8)}) > 1


def test_too_few_images_are_an_error() -> None:
    assert len(last_images(asked(), 10, seed=0)) == 10
    with pytest.raises(UserError, match="it has 10 images, fewer than samples: set samples to at most 10"):
        last_images(asked(), 11, seed=0)


def test_a_question_about_an_image_that_was_shown_is_found() -> None:
    items = asked()
    chosen = [(place, items[place]) for place in last_images(items, 3, seed=0)]
    first = first_seen(chosen, items)
    assert first == 7 * 4, "every question about a shown image counts, not the chosen one alone"
    assert first_seen(chosen, items[:first]) is None


def test_files(tmp_path: Path) -> None:
    items = tiny_images.items()
    write_items(tmp_path / "q.parquet", items)
    rows = [
        {"image": base64.b64encode(item.image).decode(), "question": item.question, "answer": item.answers[0]}
        for item in items
    ]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    assert list(read_questions(tmp_path / "q.jsonl")) == list(read_questions(tmp_path / "q.parquet")) == items
    found = choose(str(tmp_path / "q.jsonl"), 2, 0)
    assert found == choose(str(tmp_path / "q.parquet"), 2, 0)
    assert {item.image for _, item in found} == {item.image for item in items[1:3]}


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"image": "", "question": "", "answer": ""}\n{"image": "a.png"}\n')
    with pytest.raises(UserError, match=r"^line 2 is no JSON object with image, question, answer, its image in base64"):
        read_questions(tmp_path / "q.jsonl")


def test_pairs_come_back(tmp_path: Path) -> None:
    pairs = [Pair(3, b"png", "what?", "red", [1, -200, 5]), Pair(9, b"other", "is it?", "no", [1, 2])]
    write_pairs(tmp_path / "p.parquet", pairs)
    assert read_pairs(tmp_path / "p.parquet") == pairs


def test_the_answer_that_most_people_gave_and_the_longest_prompt() -> None:
    item = Item(b"", "what?", ("blue", "red", "red"))
    (pair,) = tokenized([(4, item)], lambda item, answer: [len(answer)] * 5, longest=5)
    assert pair == Pair(4, b"", "what?" + SHORT_ANSWER, "red", [3] * 5)
    with pytest.raises(UserError, match="question 4 has 5 tokens, and the model reads 4: leave it out"):
        tokenized([(4, item)], lambda item, answer: [0] * 5, longest=4)


def test_a_set_of_the_hub_gives_its_train_split(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def load_dataset(dataset: str, name: str | None, revision: str, split: str) -> list[dict[str, Any]]:
        from PIL import Image

        seen.append((dataset, revision, split))
        pictures = [None, *(Image.new("RGB", (4, 4), (shade, 0, 0)) for shade in (0, 50, 50, 200))]
        return [{"image": p, "hint": "", "question": "q?", "choices": ["a", "b"], "answer": 1} for p in pictures]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    found = choose("scienceqa", 3, 0, "0" * 40)
    assert seen == [("derek-thomas/ScienceQA", "0" * 40, "train")]
    places = [place for place, _ in found]
    assert places in ([1, 2, 4], [1, 3, 4]), "rows with an image, each image once"
    assert {item.answers for _, item in found} == {("B",)}
    with pytest.raises(UserError, match="set samples to at most 3"):
        choose("scienceqa", 4, 0)
