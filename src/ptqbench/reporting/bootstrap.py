"""The paired bootstrap (Efron 1979; Koehn 2004 for comparing systems): cells are scored on the same resampled items.

Resampling depends on the names and sizes of the strata alone, so that whatever was scored on the same items is paired,
and the same report comes out of the same results.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
LEVEL = 0.95
CHUNK = 2**22  # resampling counts held at once

Array = NDArray[np.float64]


class Estimate(NamedTuple):
    """A number, its standard error, and the ends of its 95 % interval."""

    value: float
    stderr: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def resampled_means(strata: Mapping[str, Array], draws: int = DRAWS, seed: int = 0) -> Array:
    """Mean over strata of the mean over resampled items, ``[draws, k]``.

    Each stratum (a task, a corpus) holds ``[n, k]``: item by cell. All cells see the same resampled items. Deviations
    are widened by ``√(n / (n - 1))``, without which the bootstrap's variance of a mean is too small by that square.
    """
    means = []
    for name, values in strata.items():
        n = len(values)
        generator = np.random.default_rng([seed, zlib.crc32(name.encode()), n])
        parts = []
        for size in _chunks(draws, n):
            counts = generator.multinomial(n, np.full(n, 1 / n), size=size)
            parts.append(counts @ values / n)
        centre = values.mean(0)
        means.append(centre + (np.concatenate(parts) - centre) * np.sqrt(n / max(n - 1, 1)))
    result: Array = np.mean(means, axis=0)
    return result


def estimate(value: float, draws: Array) -> Estimate:
    """A statistic's estimate from its bootstrap ``draws [d]``: standard deviation and percentile interval."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(draws.std(ddof=1)), float(low), float(high))


def _chunks(draws: int, n: int) -> list[int]:
    size = max(1, CHUNK // n)
    return [min(size, draws - start) for start in range(0, draws, size)]
