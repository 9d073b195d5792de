"""Intervals hold the truth as often as they say, and have a width where a sample has none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ptqbench.reporting.intervals import NORMAL, share_spread, student

LEVEL = 0.95


def covered(n: int, worse: float, better: float, repeats: int = 20000) -> float:
    """How often the interval of a difference of paired right answers holds the truth."""
    rest = 1 - worse - better
    counts = np.random.default_rng([n, int(1e6 * worse)]).multinomial(n, [worse, better, rest], size=repeats)
    measured = (counts[:, 1] - counts[:, 0]) / n
    variance = ((counts[:, 1] + counts[:, 0]) / n - measured**2) / (n - 1)
    ends = {value: NORMAL * share_spread(value, 1 / n) for value in np.unique(variance)}
    return float(np.mean(np.abs(measured - (better - worse)) <= [ends[value] for value in variance]))


@pytest.mark.parametrize("n", [20, 100, 200, 1000])
@pytest.mark.parametrize(
    ("worse", "better"),
    [(0.0005, 0), (0.001, 0.001), (0.004, 0), (0.009, 0), (0.02, 0), (0.01, 0.01), (0.05, 0.02), (0.3, 0.1), (0, 0)],
)
def test_accuracies_hold_the_truth_also_where_few_answers_change(n: int, worse: float, better: float) -> None:
    assert covered(n, worse, better) >= LEVEL - 0.005


@pytest.mark.parametrize("n", [1, 10, 200, 10_000])
def test_documents_none_of_which_changed_leave_open_what_the_exact_interval_does(n: int) -> None:
    exact = 1 - 0.025 ** (1 / n)  # Clopper and Pearson
    assert exact <= NORMAL * share_spread(0.0, 1 / n)
    assert n < 200 or pytest.approx(exact, rel=0.06) == NORMAL * share_spread(0.0, 1 / n)


def test_many_changes_are_as_of_a_normal_difference() -> None:
    assert share_spread(1e-4, 1e-6) == pytest.approx(1e-2, rel=1e-3)
    assert share_spread(math.nan, 0.1) == math.inf


def test_quantiles_are_those_of_the_tables() -> None:
    for freedom, value in ((1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (10, 2.2281), (30, 2.0423)):
        assert student(freedom) == pytest.approx(value, rel=2e-3)
    assert student(10**6) == pytest.approx(NORMAL, rel=1e-5)
