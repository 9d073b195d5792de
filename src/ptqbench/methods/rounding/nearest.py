"""Round to nearest: each weight by itself."""

from __future__ import annotations

from dataclasses import dataclass

from ptqbench.methods.contracts import Rounding
from ptqbench.methods.problem import Problem, Rounded, nearest


@dataclass(frozen=True)
class Nearest(Rounding):
    """It has no parameters."""

    def round_site(self, problem: Problem) -> Rounded:
        """Nearest codes on the fitted grid."""
        return nearest(problem)
