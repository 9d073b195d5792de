"""Round to nearest: each weight by itself."""

from __future__ import annotations

from ptqbench.methods.problem import Problem, Rounded, nearest

STRATEGY = None
DEFAULTS: dict = {}
PARAMETERS: dict = {}


def round_site(problem: Problem) -> Rounded:
    """Nearest codes on the fitted grid."""
    return nearest(problem)
