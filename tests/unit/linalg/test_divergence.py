"""The divergence of two models' predictions."""

from __future__ import annotations

import math

import pytest
import torch

from ptqbench.linalg.divergence import divergence


def test_divergence_of_two_coins() -> None:
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.1])
    wanted = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert divergence(p.log(), q.log()).item() == pytest.approx(wanted)
    logits = torch.randn(3, 5, 11)
    assert divergence(logits, logits + 2).abs().max() < 1e-12
    assert divergence(logits, torch.randn(3, 5, 11)).min() > 0
