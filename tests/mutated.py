"""Configs that are wrong somewhere: of a sound one a key, a value or a section changed; the same for a seed."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator
from typing import Any

STRANGE: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 8.0, 0.5, -0.5, 1e30, 10**30, 2**31, 2**64, math.nan, math.inf, -math.inf,
    "", " ", ".", "..", "/", "../x", "a\nb", "x\n", "\x00", "x" * 300, "x" * 5000, "é", "none", "float", "p.server",
    "nan", "{x}", "$(x)", "/usr", "/dev/null", [], {}, [[]], [None], ["x", "x"], {"a": 1}, {1: 2}, {None: None}, [{}],
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*path, key)
        yield from places(part, (*path, key))


def holder(config: Any, path: tuple[Any, ...]) -> Any:
    """What holds the value at a path."""
    for key in path[:-1]:
        config = config[key]
    return config


def mutated(config: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """A copy with one to three changes, each of a place anywhere."""
    changed = copy.deepcopy(config)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        found = list(places(changed))
        if not found:
            break
        path = rng.choice(found)
        inside, key = holder(changed, path), path[-1]
        way = rng.randrange(6)
        if way == 0:
            del inside[key]
        elif way == 1 and isinstance(inside, dict):
            inside[rng.choice([*filter(_is_key, STRANGE), str(key) + "s", str(key).upper()])] = inside.pop(key)
        elif way == 2:
            other = rng.choice(found)
            inside[key] = copy.deepcopy(holder(changed, other)[other[-1]])
        elif way == 3 and isinstance(inside[key], int | float) and not isinstance(inside[key], bool):
            inside[key] = rng.choice(
                [-inside[key], inside[key] * 1.0, inside[key] + 1, inside[key] * 10**6, inside[key] / 3]
            )
        elif way == 4 and isinstance(inside, dict):
            inside[rng.choice([*filter(_is_key, STRANGE), "limit", "bits", "seed"])] = copy.deepcopy(
                rng.choice(STRANGE)
            )
        else:
            inside[key] = copy.deepcopy(rng.choice(STRANGE))
    return changed


def _is_key(value: Any) -> bool:
    return not isinstance(value, dict | list)
