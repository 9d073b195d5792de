"""What a model is said to be adds up: every matrix is quantized, or in float for a reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ptqbench.__main__ import main
from ptqbench.models.headers import read_headers

ROOT = Path(__file__).parents[3]
MODELS = sorted(file.parent for file in ROOT.glob("resources/models/*/config.json"))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_matrix_is_there_once(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["describe", str(model)])
    text = capsys.readouterr().out
    inside, _, outside = text.partition("\nin float:\n")
    shapes = [header.shape for header in read_headers(model, "").values()]
    total = sum(_product(shape) for shape in shapes if len(shape) > 1)
    quantized = int(re.search(r"([\d,]+) are quantized", inside)[1].replace(",", ""))
    floats = [re.split(r" {2,}", line) for line in outside.splitlines()[1:]]
    assert quantized + sum(int(row[1].replace(",", "")) for row in floats) == total
    assert all(row[2] for row in floats)
    told = 0
    for first, last, block in re.findall(r"^blocks? (\d+)(?: to (\d+))?, (.*?)(?=^block|\Z)", inside, re.M | re.S):
        own = sum(int(a) * int(b) for a, b in re.findall(r" (\d+)x(\d+)", block))
        told += own * (int(last or first) - int(first) + 1)
    assert told == quantized


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for length in shape:
        product *= length
    return product
