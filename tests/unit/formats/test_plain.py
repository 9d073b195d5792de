"""No packed format takes what only a dense weight can say."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from codes import quantized

from ptqbench.formats import dense
from ptqbench.formats.layout import Layout


@pytest.mark.parametrize("name", ["compressed_tensors", "gptq", "awq"])
def test_a_half_integer_zero_point(name: str) -> None:
    layout = Layout(4, 32, False)
    linear = quantized(32, 64, 4, 32, False)
    linear.zero = torch.full_like(linear.scale, 7.5)
    assert import_module(f"ptqbench.formats.{name}").refuses(linear, layout) == "a half-integer zero-point"
    assert dense.refuses(linear, layout) is None
