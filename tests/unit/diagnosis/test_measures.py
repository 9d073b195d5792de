"""The measures against cases whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from ptqbench.diagnosis import measures


def test_kurtosis_of_known_distributions() -> None:
    torch.manual_seed(0)
    assert measures.kurtosis(torch.randn(200_000)) == pytest.approx(3, abs=0.1)
    assert measures.kurtosis(torch.rand(200_000)) == pytest.approx(1.8, abs=0.05)
    assert measures.kurtosis(torch.tensor([1.0, -1.0])) == pytest.approx(1)
    assert measures.kurtosis(torch.ones(9)) == 0


def test_reach_is_the_largest_over_the_typical() -> None:
    assert measures.reach(torch.tensor([[1.0, -1.0, 1.0, 1.0]])) == pytest.approx(1)
    assert measures.reach(torch.tensor([[0.0, 0.0, 0.0, 5.0]])) == pytest.approx(2)


def test_outliers_are_many_times_the_median() -> None:
    size = torch.tensor([1.0, 1.0, 1.0, 7.0, 5.9])
    assert measures.outliers(size) == (1, pytest.approx(7))
    x = torch.randn(500, 6) * torch.tensor([1, 1, 1, 1, 1, 20.0])
    found = measures.channel_size(x.T @ x / 500)
    torch.testing.assert_close(found, x.double().square().mean(0).sqrt(), rtol=1e-5, atol=0)
    assert measures.outliers(found)[0] == 1


def test_conditioning() -> None:
    condition, rank = measures.conditioning(torch.diag(torch.tensor([1.0, 2.0, 4.0])))
    assert condition == pytest.approx(4)
    assert rank == pytest.approx(49 / 21)
    assert measures.conditioning(torch.eye(5)) == (pytest.approx(1), pytest.approx(5))
    x = torch.randn(3, 8)
    assert measures.conditioning(x.T @ x)[0] == math.inf


def test_the_use_of_the_grid() -> None:
    even = torch.arange(4, dtype=torch.uint8).repeat(2, 2)
    assert measures.code_entropy(even, 2) == pytest.approx(2)
    assert measures.levels_used(even, 4, 2) == 1
    assert measures.edge_share(even, (0, 3)) == 0.5
    middle = torch.full((2, 8), 1, dtype=torch.uint8)
    assert measures.code_entropy(middle, 2) == 0
    assert measures.levels_used(middle, 4, 2) == 0.25
    assert measures.edge_share(middle, (0, 3)) == 0
    assert measures.levels_used(torch.arange(4, dtype=torch.uint8)[None], 4, 8) == 1, "a group cannot use more"
