"""Kernels and products by parts against their plain twins."""

from __future__ import annotations

import torch
from torch import Tensor

from ptqbench import spec
from ptqbench.kernels import feedback as kernel
from ptqbench.kernels.clip import best_shrinks, best_shrinks_plain
from ptqbench.kernels.scaled import scaled_error, scaled_error_plain
from ptqbench.linalg.factor import feedback, upper_factor
from ptqbench.linalg.proxy import proxy_loss
from ptqbench.methods import columns as solver
from ptqbench.methods import problem
from ptqbench.methods.problem import Problem, processing_order
from ptqbench.methods.ranges import minmax
from ptqbench.methods.rounding import ldlq
from ptqbench.methods.transforms import salience
from ptqbench.models.collect import collect_blocks
from quantizing.bench import METHODS, Bench
from quantizing.clock import replaced

FROM_A_TIE, LOSS_CHANGE = 1e-5, 1e-4  # of a step: float32 resolves 1e-6 of it at 15 steps; relative


def check(bench: Bench) -> None:
    """Kernels and products by parts against their plain twins on every site of a block that a pass has seen."""
    skeleton, cell = bench.skeleton(), bench.cell(METHODS["gptq"])
    inputs = skeleton.inputs(bench.tokens[: max(8, bench.args.samples // 4)], bench.args.batch_size)
    tensors, found = next(collect_blocks(skeleton, inputs, spec.statistics()))
    block = cell.state_of(0, tensors, found)
    for place in (each for each in block.sites if each.linears):
        weight = block.stacked(place)[:4096]
        whole = Problem(weight, block.statistics[place.name].hessian, bench.grid, minmax.Minmax().bounds)
        diagonal = whole.hessian.diagonal()
        order = processing_order(diagonal, True)
        factor = upper_factor(whole.hessian, order, diagonal, 0.01)
        assert order is not None
        assert factor.upper is not None
        columns, (linear, pivots) = solver.in_order(whole, order), feedback(factor.upper)
        fast = solver.solve(columns, linear, pivots, whole, None, None).codes
        with replaced(solver, "round_block", kernel.round_block_plain), replaced(solver, "add_product", Tensor.addmm_):
            plain = solver.solve(columns, linear, pivots, whole, None, None).codes
        words, distance, change = agreement(columns, linear, whole, order, fast, plain)
        print(f"check {place.name}: {words}", flush=True)
        if distance > FROM_A_TIE or change > LOSS_CHANGE:
            raise ValueError(f"{place.name}: the kernel's codes are not the plain path's")
        scale = salience.candidate(block.statistics[place.name].mean_abs, None, 0.5)
        errors = [make(weight, scale, bench.grid) for make in (scaled_error, scaled_error_plain)]
        share = ((errors[0] - errors[1]).abs() > 1e-6 * weight.abs().amax()).double().mean().item()
        losses = [proxy_loss(error.double(), whole.hessian.double()).sum() for error in errors]
        change, off = (abs(loss / losses[1] - 1).item() for loss in (losses[0], accurate_loss(errors[1], whole)))
        print(
            f"   a scaled weight's error: {share:.2e} of it differs, its loss by {change:.1e}; "
            f"the accurate proxy loss is off by {off:.1e}",
            flush=True,
        )
        print(
            f"   clipping: {clipping(weight, whole)}; a greedy pass: {greedy(columns, fast, whole, order)}", flush=True
        )


def accurate_loss(delta: Tensor, whole: Problem) -> Tensor:
    """What AWQ's search decides by."""
    return proxy_loss(delta, whole.hessian, exact=True).sum()


def clipping(weight: Tensor, whole: Problem) -> str:
    """In which groups the search for the range chooses otherwise than its twin, and what that does to their error."""
    groups, shrinks = whole.grid.grouped(weight), [1 - step / 20 for step in range(10)]
    blocks = problem.diagonal_blocks(whole.hessian, groups.shape[-1])
    fast, plain = (search(groups, whole.grid, blocks, shrinks) for search in (best_shrinks, best_shrinks_plain))
    errors = []
    for kept in (fast, plain):
        scale, zero = whole.grid.from_bounds(groups.amin(-1) * kept, groups.amax(-1) * kept)
        values = whole.grid.decode(
            whole.grid.encode(groups, scale[..., None], zero[..., None]), scale[..., None], zero[..., None]
        )
        delta = (values - groups).transpose(0, 1).double()
        errors.append(((delta @ blocks.double()) * delta).sum())
    share, change = (fast != plain).double().mean().item(), (errors[0] / errors[1] - 1).item()
    return f"{share:.2e} of the groups differ, their error by {change:+.1e}"


def greedy(columns: solver.Columns, codes: Tensor, whole: Problem, order: Tensor) -> str:
    """A greedy pass with products by parts against one with plain products, from the same codes."""
    permuted = whole.hessian[order][:, order]
    fast = ldlq.greedy_pass(columns, codes, permuted, whole, None)
    with replaced(ldlq, "hold", Tensor.clone), replaced(ldlq, "product", torch.mm):
        plain = ldlq.greedy_pass(columns, codes, permuted, whole, None)
    deltas = [(columns.weight - ldlq.decode(columns, found, whole)).double() for found in (fast, plain)]
    losses = [((permuted.double() @ delta) * delta).sum() for delta in deltas]
    change = (losses[0] / losses[1] - 1).item()
    return f"{(fast != plain).double().mean().item():.2e} of the codes differ, proxy loss by {change:+.1e}"


def agreement(
    columns: solver.Columns, linear: Tensor, whole: Problem, order: Tensor, fast: Tensor, plain: Tensor
) -> tuple[str, float, float]:
    """Where two roundings differ, in words; how near a tie the first difference of each row is; the loss's change.

    Only a row's first difference has to be a tie: its error is fed back, so that later columns are other problems.
    """
    scale, zero = columns.scale[columns.groups].double(), columns.zero[columns.groups].double()
    values = [whole.grid.decode(codes.double(), scale, zero) for codes in (fast, plain)]
    deltas = [columns.weight.double() - value for value in values]
    target = columns.weight.double() + linear.double().triu(1).T @ deltas[1]
    differs = fast != plain
    first = differs.int().argmax(0)
    rows = differs.any(0).nonzero().flatten()
    here, one, other = (each[first[rows], rows] for each in (target, *values))
    distance = (here - (one + other) / 2).abs() / (one - other).abs()
    permuted = whole.hessian[order][:, order].double()
    losses = [((delta.T @ permuted) * delta.T).sum() for delta in deltas]
    quick = proxy_loss(deltas[1].T.float(), permuted.float()).sum()
    share, largest = differs.double().mean().item(), distance.max().item() if len(rows) else 0.0
    change, off = (abs(loss / losses[1] - 1).item() for loss in (losses[0], quick))
    where = f"{share:.2e} in {len(rows)} of {differs.shape[1]} rows"
    words = (
        f"codes that differ {where}, first differences at most {largest:.1e} of a step from a tie, "
        f"proxy loss changes by {change:.1e}; the quick proxy loss is off by {off:.1e}"
    )
    return words, largest, change
