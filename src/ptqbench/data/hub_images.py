"""The hub's questions about images, with the splits and prompts of LLaVA-1.5's evaluation (arXiv 2310.03744)."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from ptqbench.data.images import LETTER, Item

Row = dict[str, Any]


class HubQuestions(NamedTuple):
    """A data set of the hub and how a row becomes a question; None where a row is left out."""

    dataset: str
    name: str | None
    split: str
    item: Callable[[Row], Item | None]


def options(choices: list[str]) -> str:
    """``A. …``, one a line."""
    return "".join(f"\n{chr(ord('A') + index)}. {choice}" for index, choice in enumerate(choices))


def scienceqa(row: Row) -> Item | None:
    """Questions with an image; the hint is the context."""
    if row["image"] is None:
        return None
    context = f"Context: {row['hint']}\n" if row.get("hint") else ""
    answer = chr(ord("A") + row["answer"])
    text = context + row["question"] + options(row["choices"])
    return Item(encoded(row["image"]), text, (answer,), LETTER, "letter")


def textvqa(row: Row) -> Item:
    """With the OCR tokens that the data set brings, scored by the votes of ten people."""
    tokens = ", ".join(row.get("ocr_tokens") or [])
    text = row["question"].capitalize() + (f"\nReference OCR token: {tokens}" if tokens else "")
    return Item(encoded(row["image"]), text, tuple(row["answers"]), scoring="votes")


def mmbench(row: Row) -> Item:
    """Each question once, in one order of its choices: not the circular protocol of the leaderboard."""
    hint = f"{row['hint']}\n" if row.get("hint") not in (None, "", "nan") else ""
    choices = [row[letter] for letter in "ABCD" if row.get(letter) not in (None, "", "nan")]
    text = hint + row["question"] + options(choices)
    return Item(encoded(row["image"]), text, (row["answer"],), LETTER, "letter")


def pope(row: Row) -> Item:
    """Whether an object is there, by how the absent ones were chosen."""
    return Item(encoded(row["image"]), row["question"], (row["answer"],), category=row["category"])


QUESTIONS = {
    "scienceqa": HubQuestions("derek-thomas/ScienceQA", None, "test", scienceqa),
    "textvqa": HubQuestions("lmms-lab/textvqa", None, "validation", textvqa),
    "mmbench": HubQuestions("lmms-lab/MMBench", "en", "dev", mmbench),
    "pope": HubQuestions("lmms-lab/POPE", None, "test", pope),
}


def fetch(name: str, limit: int | None, revision: str | None) -> list[Item]:
    """The first ``limit`` questions of a known data set at a commit, or all."""
    from datasets import load_dataset

    known = QUESTIONS[name]
    rows = load_dataset(known.dataset, known.name, revision=revision, split=known.split)
    return list(islice(_items(rows, known), limit))


def encoded(image: Any) -> bytes:
    """A PIL image as PNG."""
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "PNG")
    return stream.getvalue()


def _items(rows: Any, known: HubQuestions) -> Iterator[Item]:
    for row in rows:
        if (item := known.item(row)) is not None:
            yield item
