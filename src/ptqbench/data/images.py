"""Questions about images: a parquet file with the columns ``image`` (PNG or JPEG bytes), ``question``, ``answer``."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import parquet

# LLaVA-1.5's evaluation (arXiv 2310.03744, table 7): its turn, and what it asks of the benchmarks
TURN = "USER: <image>\n{} ASSISTANT:"
SHORT_ANSWER = "\nAnswer the question using a single word or phrase."
LETTER = "\nAnswer with the option's letter from the given choices directly."


class Item(NamedTuple):
    """One question: the encoded image, the text and the right answers, any of which will do.

    ``request`` follows the question; ``scoring`` is ``exact``, ``letter`` or ``votes`` (see ``evaluation.images``);
    ``category`` has a score of its own besides.
    """

    image: bytes
    question: str
    answers: tuple[str, ...]
    request: str = SHORT_ANSWER
    scoring: str = "exact"
    category: str = ""


def read_items(file: Path) -> list[Item]:
    """Every question of a file, in order."""
    rows = parquet.read_table(file, columns=["image", "question", "answer"]).to_pylist()
    return [Item(row["image"], row["question"], (row["answer"],)) for row in rows]


def write_items(file: Path, items: Sequence[Item]) -> None:
    """The inverse of :func:`read_items`; an image that many questions share is stored once."""
    columns = {
        "image": pa.array([item.image for item in items], pa.binary()),
        "question": [item.question for item in items],
        "answer": [item.answers[0] for item in items],
    }
    parquet.write_table(pa.table(columns), file, compression="zstd", dictionary_pagesize_limit=1 << 26)


def decode(image: bytes) -> np.ndarray:
    """The image as uint8 ``[h, w, 3]``."""
    from PIL import Image

    with Image.open(io.BytesIO(image)) as opened:
        return np.asarray(opened.convert("RGB"))
