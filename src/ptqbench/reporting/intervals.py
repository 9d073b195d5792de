"""How far a difference of two cells can be from what was measured: 95 % intervals that are never of width 0.

A spread is half an interval over :data:`NORMAL`: a difference is significant where it exceeds ``NORMAL * spread``,
whatever it is a difference of.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

NORMAL = 1.959963985  # half the width of a 95 % interval in standard errors
RESOLUTION = 1e-4  # nats: two implementations of one model differ by this (reports/serving)

Array = NDArray[np.float64]


def share_spread(variance: float, reach: float) -> float:
    """Of a difference of means of scores between 0 and 1, with ``variance`` and one item's part ``reach`` in it.

    The interval holds every difference ``δ`` with ``(δ - measured)² <= NORMAL² (variance + reach |δ - measured|)``:
    Wilson's score interval (1927) with its variance where it can only be guessed, as what the measured one does not
    show is at least one item's. Of n documents none of which changed, up to ``NORMAL² / n`` may: 1.9 % of 200, where
    the exact interval (Clopper and Pearson 1934) says 1.8 %.
    """
    if math.isnan(variance):
        return math.inf
    square = NORMAL**2
    return (square * reach + math.sqrt((square * reach) ** 2 + 4 * square * variance)) / 2 / NORMAL


def divergence_floor(value: float) -> float:
    """What log-probabilities that are off by :data:`RESOLUTION` ``r`` may change a KL by, in nats.

    A KL is about half the mean square of the differences ``d`` of log-probabilities, and ``((d + r)² - d²) / 2`` is
    ``r sqrt(2 KL) + r² / 2`` at most in the mean (Cauchy and Schwarz).
    """
    return RESOLUTION * math.sqrt(2 * max(0.0, value)) + RESOLUTION**2 / 2


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's distribution (Abramowitz and Stegun 26.7.5; exact for one and two)."""
    if freedom == 1:
        return math.tan(0.475 * math.pi)
    if freedom == 2:
        return 0.95 * math.sqrt(2 / (4 * 0.975 * 0.025))
    z, f = NORMAL, freedom
    terms = (
        z,
        (z**3 + z) / 4 / f,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96 / f**2,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384 / f**3,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160 / f**4,
    )
    return math.fsum(terms)
