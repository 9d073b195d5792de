"""The knapsack against trying everything."""

from __future__ import annotations

import random
from itertools import product

import pytest

from ptqbench.linalg.knapsack import allocate

Items = list[list[tuple[int, float]]]


def problem(seed: int) -> tuple[Items, int]:
    generator = random.Random(seed)
    items = [
        [(generator.randrange(1, 12), generator.randrange(20) / 4) for _ in range(generator.randrange(1, 4))]
        for _ in range(generator.randrange(1, 8))
    ]
    return items, generator.randrange(0, 50)


def sums(items: Items, choice: list[int]) -> tuple[int, float]:
    taken = [item[index] for item, index in zip(items, choice, strict=True)]
    return sum(cost for cost, _ in taken), sum(loss for _, loss in taken)


@pytest.mark.parametrize("seed", range(60))
def test_nothing_that_fits_loses_less(seed: int) -> None:
    items, budget = problem(seed)
    every = [sums(items, list(choice)) for choice in product(*(range(len(item)) for item in items))]
    fitting = [loss for cost, loss in every if cost <= budget]
    found = allocate(items, budget)
    if not fitting:
        assert found is None
        return
    assert found is not None
    cost, loss = sums(items, found)
    assert cost <= budget
    assert loss == pytest.approx(min(fitting))


def test_many_items_of_few_sizes_are_quick_and_no_worse_than_uniform() -> None:
    generator = random.Random(0)
    sizes = [4096 * 4096, 4096 * 11008]
    weights = [(generator.choice(sizes), generator.lognormvariate(0, 2)) for _ in range(60)]
    items = [[(size * bits, size * harm * 4.0**-bits) for bits in (2, 3, 4)] for size, harm in weights]
    uniform = [1] * len(items)
    budget, loss = sums(items, uniform)
    found = allocate(items, budget)
    assert found is not None
    cost, best = sums(items, found)
    assert cost <= budget
    assert best < loss
    assert len(set(found)) == 3
