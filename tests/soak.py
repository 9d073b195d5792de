"""How much a generated test tries: a fixed little in CI, all of it where PTQBENCH_SOAK is set."""

from __future__ import annotations

import os

SOAK = bool(os.environ.get("PTQBENCH_SOAK"))


def count(usual: int, soak: int) -> int:
    """How many inputs to generate."""
    return soak if SOAK else usual
