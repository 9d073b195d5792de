"""Random candidates and constraints, from the easy to the impossible."""

from __future__ import annotations

import math
import random

from ptqbench.reporting.recommend import Candidate, Constraints

NAMES = ("ppl wiki@64 (text)", "acc % qa")
KL = "kl wiki@64 (near)"
FLOAT = ("m", "none", "float", "float")
WIDTHS = dict(zip((*NAMES, KL), (0.01, 0.6, 0.002), strict=True))  # standard errors of differences
SIGNS = dict(zip((*NAMES, KL), (1, -1, 1), strict=True))


def table(seed: int, n: int = 25) -> tuple[list[Candidate], dict[tuple[str, str, str], float]]:
    """A model's cells, some without a speed or a score, some as good or nearly as small as each other."""
    generator = random.Random(seed)
    values = dict(zip(NAMES, (1.0, 60.0), strict=True))
    exact = dict.fromkeys(NAMES, (0.0, 0.0))
    cells = [Candidate("m/none/float/float", "m", 16 * 10**9, 30.0, {**values, KL: 0.0}, exact, key=FLOAT)]
    for index in range(n):
        near = {KL: generator.randrange(1, 40) / 1000} if generator.random() < 0.9 else {}
        drops = {name: generator.randrange(-1, 12) / 100 for name in NAMES if generator.random() < 0.9}
        cells.append(
            Candidate(
                id=f"m/c/{index}",
                model="m",
                bytes=round(generator.randrange(1, 9) * 2e9 * generator.choice([1, 1.0006, 0.995])),
                tokens_per_second=generator.choice([None, 10.0 * generator.randrange(1, 20)]),
                comparable={name: values[name] * (1 + SIGNS[name] * drop) for name, drop in drops.items()} | near,
                drop={name: (drop, drop + generator.choice([0.001, 0.02, math.inf])) for name, drop in drops.items()},
            )
        )
    return cells, {(s, a.id, b.id): WIDTHS[s] for s in WIDTHS for i, a in enumerate(cells) for b in cells[i + 1 :]}


def constraints(seed: int) -> Constraints:
    generator = random.Random(seed)

    def maybe(value: float) -> float | None:
        return generator.choice([None, value, value])

    return Constraints(
        scores=generator.choice([NAMES, NAMES[:1], NAMES[1:], NAMES[::-1], (*NAMES, KL), (KL, *NAMES), (KL,)]),
        memory=maybe(generator.uniform(0.5, 17) * 1e9),
        max_drop=maybe(generator.uniform(-0.02, 0.08)),
        tokens_per_second=maybe(generator.uniform(5, 200)),
        prefer=generator.choice(["quality", "size", "speed"]),
        named=generator.random() < 0.5,
    )
