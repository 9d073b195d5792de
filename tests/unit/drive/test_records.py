"""Numbers that stay on the device until a block is done, and what a rounding's own check says."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ptqbench.drive.records import settle
from ptqbench.fallback import Fallback


def settled(**record: Any) -> dict[str, Any]:
    records = [record]
    settle(records)
    return records[0]


def test_numbers_are_read() -> None:
    found = settled(loss=torch.tensor(0.5), dead=torch.tensor(3), losses=torch.tensor([1.0, 2.0]), name="k")
    assert found == {"loss": 0.5, "dead": 3, "losses": [1.0, 2.0], "name": "k"}
    assert isinstance(found["dead"], int)


@pytest.mark.parametrize("error", [0.07, float("nan")])
def test_a_loss_that_does_not_add_up_is_told(error: float) -> None:
    assert settled(identity_error=torch.tensor(error))["fallback"]["kind"] == "unsound"


def test_a_loss_that_adds_up_is_not() -> None:
    assert "fallback" not in settled(identity_error=torch.tensor(1e-4))
    assert "fallback" not in settled(loss=torch.tensor(1.0))


def test_an_earlier_fallback_stays() -> None:
    earlier = Fallback("low traffic", "few tokens").as_json()
    assert settled(identity_error=torch.tensor(0.5), fallback=earlier)["fallback"] == earlier
