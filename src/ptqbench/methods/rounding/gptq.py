"""GPTQ: round column by column and move each column's error to those not yet rounded (arXiv 2210.17323).

Unlike the reference, a group's range is fitted to current values (the reference's is stale inside a block, which
makes its result depend on ``block_size``), every group's scale is kept, and activation order implies static groups.
Errors are fed back through the factor of H (``linalg.factor.feedback``) and not through that of its inverse: the same
codes, half the factorization.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ptqbench.linalg.factor import feedback, upper_factor
from ptqbench.methods.columns import identity_check, in_order, row_losses, solve
from ptqbench.methods.contracts import Rounding, parameter
from ptqbench.methods.problem import Problem, Rounded, live_diagonal, processing_order, restored, unfactorable


@dataclass(frozen=True)
class Gptq(Rounding):
    """Damping, order and blocks of the loop over columns."""

    STRATEGY: ClassVar = "compensation"
    CONTRADICTIONS: ClassVar = (
        (
            {"act_order": True, "static_groups": False},
            "activation order visits no group as a whole: add act_order: false",
        ),
    )

    damp: float = parameter(0.01, minimum=0, maximum=10)
    act_order: bool = parameter(True)
    static_groups: bool = parameter(True)
    block_size: int | None = parameter(None, minimum=1, maximum=65536)

    def round_site(self, problem: Problem) -> Rounded:
        """Codes by GPTQ; a Hessian that no damping can factor falls back to nearest rounding, recorded as ``fallback``.

        ``damp`` is relative to the mean of H's diagonal over live columns. The record holds the loss under the damped
        Hessian that the steps add up to against ``tr(Δ H_d Δᵀ)``, which are equal in exact arithmetic whether or not
        codes were clamped.
        """
        diagonal, dead = live_diagonal(problem)
        order = processing_order(diagonal, self.act_order)
        factor = upper_factor(problem.hessian, order, diagonal, self.damp, problem.trusted)
        record = {"damp": factor.damp, "cholesky_attempts": factor.attempts, "dead_columns": dead.sum()}
        if factor.upper is None:
            return unfactorable(problem, record)
        columns = in_order(problem, order)
        refit = None if self.act_order or self.static_groups else problem
        done = solve(columns, *feedback(factor.upper), problem, refit, self.block_size)
        factor.upper = None
        grids, codes, energy = columns.grids(), done.codes, done.energy
        del columns, done  # a site's weight several times over
        codes = restored(codes, order).T.contiguous()
        losses, sizes = row_losses(problem, Rounded(codes, *grids))
        record |= identity_check(losses + factor.damp * diagonal.mean() * sizes, energy)
        return Rounded(codes, *grids, record, losses, factor.sound)
