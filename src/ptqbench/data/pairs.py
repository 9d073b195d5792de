"""Calibration on images: pairs of an image and a question about it with its answer, as the model would be trained.

Pairs come from the end of a file, or from the train split of a set of the hub; evaluation asks from a file's start, or
from another split. So nothing need be calibrated on what is scored; :func:`first_seen` says where it would be.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ptqbench.data.hub_images import QUESTIONS
from ptqbench.data.images import Item, read_items
from ptqbench.errors import UserError

FILE = "pairs.parquet"
SUFFIXES = (".parquet", ".jsonl")
TRAIN_SPLITS = {"scienceqa": "train", "textvqa": "train"}  # the others have no split that is not for testing
KEYS = ("image", "question", "answer")


class Pair(NamedTuple):
    """A question's place in its source, its encoded image, its words, and the tokens of all of it."""

    place: int
    image: bytes
    question: str
    answer: str
    tokens: list[int]


def is_file(source: str) -> bool:
    """Whether pairs come from a local file, and not from a set of the hub."""
    return source.endswith(SUFFIXES)


def choose(source: str, samples: int, seed: int, revision: str | None = None) -> list[tuple[int, Item]]:
    """The questions of a calibration set with their places in their source: one on each of ``samples`` images."""
    if not is_file(source):
        return fetch(source, samples, seed, revision)
    items = read_questions(Path(source))
    return [(index, items[index]) for index in last_images(items, samples, seed)]


@lru_cache
def read_questions(file: Path) -> tuple[Item, ...]:
    """Every question of a ``.parquet`` file, or of a ``.jsonl`` file with its images in base64."""
    if file.suffix == ".parquet":
        return tuple(read_items(file))
    with open(file, encoding="utf-8") as lines:
        return tuple(_item(line, number) for number, line in enumerate(lines, 1) if line.strip())


def last_images(items: Sequence[Item], samples: int, seed: int) -> list[int]:
    """Places of one question, drawn by the seed, on each of the last ``samples`` images, rising.

    Raises :class:`UserError` where there are fewer images.
    """
    places: dict[bytes, list[int]] = {}
    for index, item in enumerate(items):
        places.setdefault(item.image, []).append(index)
    if len(places) < samples:
        raise UserError(f"it has {len(places)} images, fewer than samples: set samples to at most {len(places)}")
    rng = np.random.default_rng(seed)
    return sorted(int(rng.choice(found)) for found in list(places.values())[len(places) - samples :])


def first_seen(chosen: Sequence[tuple[int, Item]], asked: Sequence[Item]) -> int | None:
    """The place of the first question ``asked`` about an image that calibration has shown the model; None: no such."""
    images = {item.image for _, item in chosen}
    return next((index for index, item in enumerate(asked) if item.image in images), None)


def fetch(name: str, samples: int, seed: int, revision: str | None) -> list[tuple[int, Item]]:
    """Random questions of the train split of a set of the hub, each about another image.

    Raises :class:`UserError` where there are fewer images.
    """
    from datasets import load_dataset

    known = QUESTIONS[name]
    rows: Any = load_dataset(known.dataset, known.name, revision=revision, split=TRAIN_SPLITS[name])
    found: dict[bytes, tuple[int, Item]] = {}
    for index in np.random.default_rng(seed).permutation(len(rows)):
        if len(found) < samples and (item := known.item(rows[int(index)])) is not None:
            found.setdefault(item.image, (int(index), item))
        if len(found) == samples:
            return sorted(found.values(), key=lambda one: one[0])
    raise UserError(f"it has {len(found)} images, fewer than samples: set samples to at most {len(found)}")


def tokenized(chosen: Sequence[tuple[int, Item]], encode: Callable[[Item, str], list[int]], longest: int) -> list[Pair]:
    """The pairs; ``encode(item, answer)`` gives the tokens of the whole, of which a model reads ``longest`` at most.

    Raises :class:`UserError` for one that is longer.
    """
    found = []
    for place, item in chosen:
        answer = Counter(item.answers).most_common(1)[0][0]
        tokens = encode(item, answer)
        if len(tokens) > longest:
            raise UserError(f"question {place} has {len(tokens)} tokens, and the model reads {longest}: leave it out")
        found.append(Pair(place, item.image, item.question + item.request, answer, tokens))
    return found


def write_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    """Write pairs as parquet."""
    types = (pa.int64(), pa.binary(), pa.string(), pa.string(), pa.list_(pa.int32()))
    columns = [pa.array(column, kind) for column, kind in zip(zip(*pairs, strict=True), types, strict=True)]
    pq.write_table(pa.table(columns, names=Pair._fields), path, compression="zstd")


def read_pairs(path: Path) -> list[Pair]:
    """The inverse of :func:`write_pairs`."""
    return [Pair(**row) for row in pq.read_table(path).to_pylist()]


def _item(line: str, number: int) -> Item:
    try:
        row = json.loads(line)
        image, question, answer = (row[key] for key in KEYS)
        return Item(base64.b64decode(image, validate=True), question, (answer,))
    except (ValueError, KeyError, TypeError) as error:
        keys = ", ".join(KEYS)
        raise UserError(f"line {number} is no JSON object with {keys}, its image in base64: {error}") from None
