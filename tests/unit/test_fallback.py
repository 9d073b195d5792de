"""Fallbacks in records and in words."""

from __future__ import annotations

from typing import get_args

import pytest

from ptqbench.fallback import Fallback, Kind
from ptqbench.records import Fallen, misfit


@pytest.mark.parametrize("kind", get_args(Kind))
def test_it_is_read_as_it_was_written(kind: Kind) -> None:
    told = Fallback(kind, "24 tokens: too few")
    assert misfit(told.as_json(), Fallen) is None
    assert Fallback.of(told.as_json()) == told
    assert str(told) == f"{kind}: 24 tokens: too few"
