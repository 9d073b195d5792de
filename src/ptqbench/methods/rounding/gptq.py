"""GPTQ: round column by column and move each column's error to those not yet rounded (arXiv 2210.17323).

Unlike the reference, a group's range is fitted to current values (the reference's is stale inside a block, which
makes its result depend on ``block_size``), every group's scale is kept, and activation order implies static groups.
Errors are fed back through the factor of H (``linalg.factor.feedback``) and not through that of its inverse: the same
codes, half the factorization.
"""

from __future__ import annotations

from ptqbench.linalg.factor import feedback, upper_factor
from ptqbench.methods.columns import identity_check, in_order, row_losses, solve
from ptqbench.methods.problem import Problem, Rounded, live_diagonal, processing_order, restored, unfactorable

STRATEGY = "compensation"
DEFAULTS = {"damp": 0.01, "act_order": True, "static_groups": True, "block_size": None}
PARAMETERS = {
    "damp": {"type": "number", "minimum": 0, "maximum": 10},
    "act_order": {"type": "boolean"},
    "static_groups": {"type": "boolean"},
    "block_size": {"type": ["integer", "null"], "minimum": 1, "maximum": 65536},
}
CONTRADICTIONS = (
    ({"act_order": True, "static_groups": False}, "activation order visits no group as a whole: add act_order: false"),
)


def round_site(problem: Problem, damp: float, act_order: bool, static_groups: bool, block_size: int | None) -> Rounded:
    """Codes by GPTQ; a Hessian that no damping can factor falls back to nearest rounding, recorded as ``fallback``.

    ``damp`` is relative to the mean of H's diagonal over live columns. The record holds the loss under the damped
    Hessian that the steps add up to against ``tr(Δ H_d Δᵀ)``, which are equal in exact arithmetic whether or not codes
    were clamped.
    """
    diagonal, dead = live_diagonal(problem)
    order = processing_order(diagonal, act_order)
    factor = upper_factor(problem.hessian, order, diagonal, damp)
    record = {"damp": factor.damp, "cholesky_attempts": factor.attempts, "dead_columns": dead.sum()}
    if factor.upper is None:
        return unfactorable(problem, record)
    columns = in_order(problem, order)
    refit = None if act_order or static_groups else problem
    done = solve(columns, *feedback(factor.upper), problem, refit, block_size)
    factor.upper = None
    grids, codes, energy = columns.grids(), done.codes, done.energy
    del columns, done  # a site's weight several times over
    codes = restored(codes, order).T.contiguous()
    losses, sizes = row_losses(problem, Rounded(codes, *grids))
    record |= identity_check(losses + factor.damp * diagonal.mean() * sizes, energy)
    return Rounded(codes, *grids, record, losses)
