"""A calibration set in memory: tokens ``[samples, length]``, or a list of :class:`Shown`.

The features of an image stand where the prompt has as many image tokens, as when the model is asked; prompts of one
length run together, without padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ptqbench.data.calibration import read_tokens
from ptqbench.data.images import decode
from ptqbench.data.pairs import FILE, Pair, read_pairs


class Shown(NamedTuple):
    """Prompts of one length, each with an image: ``ids [b, t]`` and ``pixels [b, 3, h, w]``."""

    ids: Tensor
    pixels: Tensor


Calibration = Tensor | list[Shown]


def read_calibration(folder: Path, source: Path) -> Calibration:
    """A calibration set as its stage wrote it into ``folder``, for the model of the folder ``source``."""
    if (folder / FILE).is_file():
        from ptqbench.models.load import image_processor  # transformers: seconds that text need not wait

        return shown(read_pairs(folder / FILE), image_processor(source))
    return torch.from_numpy(read_tokens(folder / "tokens.parquet")).long()


def shown(pairs: Sequence[Pair], processor: Any) -> list[Shown]:
    """The pairs in groups of one length, shortest first."""
    found = []
    for length in sorted({len(pair.tokens) for pair in pairs}):
        group = [pair for pair in pairs if len(pair.tokens) == length]
        pixels = processor([decode(pair.image) for pair in group], return_tensors="pt")["pixel_values"]
        found.append(Shown(torch.tensor([pair.tokens for pair in group]), pixels))
    return found


def batches(calibration: list[Shown], size: int) -> list[Shown]:
    """The same prompts, at most ``size`` of one length together."""
    return [
        Shown(ids, pixels)
        for group in calibration
        for ids, pixels in zip(group.ids.split(size), group.pixels.split(size), strict=True)
    ]
