"""Questions about images, written and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tiny_images import COLOURS, SIDE, items

from ptqbench.data.images import decode, read_items, write_items


def test_questions_come_back_in_order_and_an_image_is_stored_once(tmp_path: Path) -> None:
    asked = items()
    write_items(tmp_path / "few.parquet", asked)
    write_items(tmp_path / "many.parquet", asked * 50)
    assert read_items(tmp_path / "few.parquet") == asked
    assert (tmp_path / "many.parquet").stat().st_size < 1.5 * (tmp_path / "few.parquet").stat().st_size


def test_pixels() -> None:
    for item, colour in zip(items(), COLOURS.values(), strict=False):
        assert np.array_equal(decode(item.image), np.full((SIDE, SIDE, 3), colour, np.uint8))
