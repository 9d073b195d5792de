"""The paired bootstrap against what is known of synthetic data."""

from __future__ import annotations

import numpy as np
import pytest

from ptqbench.reporting import bootstrap
from ptqbench.reporting.bootstrap import Array, estimate, resampled_means


def pair(seed: int, n: int, difference: float = 0.0) -> Array:
    """Two systems on the same ``n`` items: skewed difficulties that they share, and a little noise of their own."""
    generator = np.random.default_rng(seed)
    difficulty = generator.gamma(2.0, 1.0, n)
    own = generator.normal(0, 0.3, (n, 2))
    return np.stack([difficulty + own[:, 0], difficulty + difference + own[:, 1]], axis=1)


@pytest.mark.parametrize("n", [30, 200])
def test_the_interval_covers_the_truth_as_often_as_it_says(n: int) -> None:
    repeats, truth = 2500, 0.1
    pairs = np.concatenate([pair(seed, n, truth) for seed in range(repeats)], axis=1)
    draws = resampled_means({"t": pairs})
    found = [estimate(truth, column) for column in (draws[:, 1::2] - draws[:, ::2]).T]
    assert np.mean([e.low <= truth <= e.high for e in found]) == pytest.approx(0.95, abs=0.015)
    null = [estimate(0.0, column) for column in (draws[:, 1::2] - truth - draws[:, ::2]).T]
    assert np.mean([e.significant for e in null]) == pytest.approx(0.05, abs=0.015)


def test_standard_errors_are_those_of_theory() -> None:
    values = pair(0, 200)
    draws = resampled_means({"t": values}, draws=20000)
    wanted = values.std(0, ddof=1) / np.sqrt(200)
    assert draws.std(0) == pytest.approx(wanted, rel=0.03)
    paired = (values[:, 1] - values[:, 0]).std(ddof=1) / np.sqrt(200)
    assert (draws[:, 1] - draws[:, 0]).std() == pytest.approx(paired, rel=0.03)
    assert paired < 0.4 * wanted[0], "pairing is what this is for"


def test_strata_weigh_alike_whatever_their_size() -> None:
    strata = {"a": np.full((10, 1), 1.0), "b": pair(1, 1000)[:, :1]}
    draws = resampled_means(strata, draws=5000)
    assert draws.mean() == pytest.approx((1.0 + strata["b"].mean()) / 2, abs=1e-3)
    assert draws.std() == pytest.approx(strata["b"].std(ddof=1) / np.sqrt(1000) / 2, rel=0.05)


def test_the_same_seed_gives_the_same_draws_and_another_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    values = pair(0, 30)
    first = resampled_means({"t": values}, draws=50)
    assert np.array_equal(first, resampled_means({"t": values.copy()}, draws=50))
    assert not np.array_equal(first, resampled_means({"t": values}, draws=50, seed=1))
    assert not np.array_equal(first, resampled_means({"u": values}, draws=50))
    alone = resampled_means({"t": values[:, :1]}, draws=50)
    np.testing.assert_allclose(alone[:, 0], first[:, 0], rtol=1e-12)
    monkeypatch.setattr(bootstrap, "CHUNK", 100)
    np.testing.assert_allclose(resampled_means({"t": values}, draws=50), first, rtol=1e-12)


def test_one_item_says_nothing() -> None:
    found = estimate(1.0, resampled_means({"t": np.array([[1.0]])})[:, 0])
    assert found.stderr == 0
