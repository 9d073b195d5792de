"""The inverse factor and the ladder around it, on every Hessian that calibration can produce."""

from __future__ import annotations

import pytest
import torch
from small_problems import inputs

from ptqbench.linalg.factor import LARGEST_DAMP, Factor, feedback, inverse, reverse, upper_factor


def moment(n: int, tokens: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    x = inputs(n, tokens)
    return (x.T @ x / tokens).to(dtype)


def damped(hessian: torch.Tensor, damp: float) -> torch.Tensor:
    return hessian + damp * hessian.diagonal().mean() * torch.eye(len(hessian), dtype=hessian.dtype)


def factored(hessian: torch.Tensor, damp: float) -> Factor:
    return upper_factor(hessian, torch.arange(len(hessian)), hessian.diagonal(), damp)


def assert_inverts(upper: torch.Tensor | None, hessian: torch.Tensor, tolerance: float) -> None:
    assert upper is not None
    assert torch.equal(upper, upper.triu())
    upper = inverse(upper)
    assert (upper.diagonal() > 0).all()
    error = upper.T @ upper @ hessian - torch.eye(len(hessian), dtype=hessian.dtype)
    assert error.abs().max() < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-2)])
def test_is_the_upper_factor_of_the_inverse(dtype: torch.dtype, tolerance: float) -> None:
    hessian = moment(24, 200, dtype)
    factor = factored(hessian, 0.01)
    assert (factor.damp, factor.attempts) == (0.01, 1)
    assert factor.upper is not None
    assert factor.upper.dtype == dtype
    assert_inverts(factor.upper, damped(hessian, 0.01), tolerance)


def test_fewer_tokens_than_channels() -> None:
    hessian = moment(32, 10)
    assert torch.linalg.matrix_rank(hessian) == 10
    factor = factored(hessian, 0.01)
    assert factor.damp == 0.01
    assert_inverts(factor.upper, damped(hessian, 0.01), 1e-9)


def test_the_ladder_damps_what_cannot_be_factored() -> None:
    hessian = moment(32, 10)
    hessian = hessian - 2e-3 * hessian.diagonal().mean() * torch.eye(32)  # as rounding noise would, only larger
    factor = factored(hessian, 0.0)
    assert factor.attempts == 4  # 0, 1e-4, 1e-3, 1e-2
    assert factor.damp == pytest.approx(1e-2)
    assert_inverts(factor.upper, damped(hessian, factor.damp), 1e-9)


def test_duplicated_channels() -> None:
    x = inputs(16, 100)
    x[:, 5] = x[:, 4]
    hessian = x.T @ x / len(x)
    assert torch.linalg.matrix_rank(hessian) == 15
    assert_inverts(factored(hessian, 1e-4).upper, damped(hessian, 1e-4), 1e-8)


def test_double_precision_is_tried_before_more_damping() -> None:
    x = torch.randint(1, 4000, (1, 128), generator=torch.Generator().manual_seed(0)).float()
    hessian = x.T @ x + torch.eye(128)  # integers, exact in float32; the Cholesky factor is not
    factor = factored(hessian, 0.0)
    assert (factor.damp, factor.attempts, factor.dtype) == (0.0, 2, "float64")
    assert factor.upper is not None
    assert factor.upper.dtype == torch.float32
    assert_inverts(factor.upper.double(), hessian.double(), 2.0)
    assert factored(hessian.double(), 0.0).attempts == 1


def test_gives_up_on_a_matrix_that_no_damping_saves() -> None:
    hessian = -torch.eye(4) + 0.5
    factor = factored(hessian, 0.01)
    assert factor.upper is None
    assert factor.attempts == 6  # three rungs up to LARGEST_DAMP, in two precisions
    assert LARGEST_DAMP == 1.0


def test_a_damp_above_the_ladder_is_taken_as_asked() -> None:
    hessian = moment(24, 200)
    factor = factored(hessian, 5 * LARGEST_DAMP)
    assert (factor.damp, factor.attempts) == (5 * LARGEST_DAMP, 1)
    assert_inverts(factor.upper, damped(hessian, factor.damp), 1e-9)


def test_a_permuted_matrix_is_factored_in_its_order() -> None:
    hessian = moment(24, 200)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    factor = upper_factor(hessian, order, hessian.diagonal(), 0.01)
    assert_inverts(factor.upper, damped(hessian, 0.01)[order][:, order], 1e-9)


def test_no_order_is_that_of_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptqbench.linalg.factor.ROWS", 7)
    hessian = moment(24, 200)
    found, expected = (upper_factor(hessian, order, hessian.diagonal(), 0.01) for order in (None, torch.arange(24)))
    assert found.upper is not None
    assert expected.upper is not None
    assert torch.equal(found.upper, expected.upper)


def test_feedback_is_the_unit_factor_and_its_pivots() -> None:
    hessian = moment(24, 200)
    factor = factored(hessian, 0.01)
    assert factor.upper is not None
    linear, pivots = feedback(factor.upper)
    assert (linear.diagonal() == 1).all()
    torch.testing.assert_close(linear * pivots @ linear.T, damped(hessian, 0.01))


@pytest.mark.parametrize("n", [1, 2, 7, 10])
def test_values_turn_around_in_place(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptqbench.linalg.factor.CHUNK", 2)
    values = torch.arange(n)
    reverse(values)
    assert values.tolist() == list(range(n))[::-1]


def test_trusted_factors_are_the_same_and_are_told_sound_or_not() -> None:
    good, bad = moment(24, 200), -torch.eye(4) + 0.5
    found, unfit = (upper_factor(one, None, one.diagonal(), 0.01, trusted=True) for one in (good, bad))
    assert [bool(one.sound) for one in (found, unfit)] == [True, False]
    assert found.upper is not None
    assert torch.equal(found.upper, factored(good, 0.01).upper)
    assert (unfit.attempts, unfit.damp) == (1, 0.01), "no ladder"
    assert factored(bad, 0.01).upper is None, "and the ladder without trust"
