"""What overlaps with computing: order, errors, and that nothing brought to a device can be written over too early."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ptqbench import pipeline
from ptqbench.pipeline import Background, ahead, brought


def test_ahead_keeps_the_order_and_is_one_ahead() -> None:
    made: list[int] = []

    def load(item: int) -> int:
        made.append(item)
        return item * item

    results = ahead(load, range(5))
    assert next(results) == 0
    assert len(made) <= 3
    assert list(results) == [1, 4, 9, 16]


def test_an_error_while_loading_is_raised_where_its_result_is_asked_for() -> None:
    def load(item: int) -> int:
        return 1 // item

    results = ahead(load, [1, 0])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_background_raises_what_a_call_raised() -> None:
    def fail() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), Background() as background:
        background.submit(fail)


def test_everything_that_is_brought_is_received(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the next item's tensors may be written over these while a GPU has yet to read them."""
    seen: list[dict[str, Tensor]] = []

    def received(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        seen.append(tensors)
        return tensors

    monkeypatch.setattr(pipeline, "received", received)
    found = list(brought(lambda index: {"w": torch.full((2,), float(index))}, range(3), torch.device("cpu")))
    assert [tensors["w"][0].item() for tensors in found] == [0, 1, 2]
    assert [id(tensors) for tensors in seen] == [id(tensors) for tensors in found]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_what_is_freed_early_is_not_written_over() -> None:
    """A long queue before the first read, and the next tensors on their way meanwhile."""
    device = torch.device("cuda")
    busy = torch.randn(8192, 8192, device=device)
    sums: list[Any] = []
    for tensors in brought(lambda index: {"w": torch.full((1 << 24,), float(index))}, range(12), device):
        for _ in range(20):
            busy @ busy
        sums.append(tensors.pop("w").double().mean())
    assert [total.item() for total in sums] == list(range(12))
