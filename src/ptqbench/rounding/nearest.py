"""Round to nearest: each weight by itself."""

from __future__ import annotations

from ptqbench.quantize.problem import Problem, Rounded

STRATEGY = None
DEFAULTS: dict = {}
PARAMETERS: dict = {}


def round_site(problem: Problem) -> Rounded:
    """Nearest codes on the fitted grid."""
    scale, zero = problem.fit()
    grid = problem.grid
    codes = grid.encode(grid.grouped(problem.weight), scale.unsqueeze(-1), zero.unsqueeze(-1))
    return Rounded(codes.flatten(1), scale, zero)
