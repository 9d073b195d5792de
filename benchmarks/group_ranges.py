"""What GPTQ fits a group's range to, where columns are taken as they come: which choice loses least.

    PYTHONPATH=src python benchmarks/group_ranges.py [--statistics results/statistics/pocket-llama/wikitext2]

``given``: the weights as given (`static_groups: true`); ``block``: what they had become when the block of 128 columns
was begun that the group lies in, as the reference does; ``current``: what they have become when the group is reached
(`static_groups: false`). The table has the proxy loss over that of ``given``, on random problems of several widths, all
seeds together, and with ``--statistics`` on the sites of a model (run `snakemake --cores all` before); the last column
is of single problems. Five minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from ptqbench.drive.cell import Cell
from ptqbench.linalg.proxy import proxy_loss
from ptqbench.manifest import load
from ptqbench.methods.composition import made
from ptqbench.methods.problem import Problem
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.normalize import normalize
from ptqbench.numbers.grid import Grid
from ptqbench.recipe import Member

BLOCK, DAMP = 128, 0.01
GRIDS = {
    "w2g32": Grid(2, 32),
    "w2g128": Grid(2, 128),
    "w3g32": Grid(3, 32),
    "w3g128": Grid(3, 128),
    "w4g32": Grid(4, 32),
}
RANGES = ("minmax", "mse", "search")
WIDTHS, ROWS = (256, 512, 1024), 64


def loss(problem: Problem, block: int) -> float:
    """Proxy loss of plain GPTQ, whose updates reach the columns beyond a block when it is done, as published."""
    hessian, grid = problem.hessian, problem.grid
    n = len(hessian)
    damped = hessian + DAMP * hessian.diagonal().mean() * torch.eye(n, dtype=hessian.dtype)
    upper = torch.linalg.cholesky(torch.linalg.inv(damped), upper=True)
    weight, values, width = problem.weight.clone(), torch.empty_like(problem.weight), grid.width(n)
    for start in range(0, n, block):
        stop = min(start + block, n)
        own, errors = weight[:, start:stop].clone(), torch.empty_like(weight[:, start:stop])
        for j in range(start, stop):
            if j % width == 0:
                scale, zero = problem.fit_group(weight[:, j : j + width], j // width)
            column = own[:, j - start]
            values[:, j] = grid.decode(grid.encode(column, scale, zero), scale, zero)
            errors[:, j - start] = (column - values[:, j]) / upper[j, j]
            own[:, j - start :].addr_(errors[:, j - start], upper[j, j:stop], alpha=-1)
        weight[:, stop:] -= errors @ upper[start:stop, stop:]
    return proxy_loss(problem.weight - values, hessian).sum().item()


def compare(weight: Tensor, hessian: Tensor, grid: Grid, chosen: str) -> tuple[float, float, float]:
    """The losses of ``given``, ``block`` and ``current``: in plain GPTQ they differ by the size of its blocks alone."""
    problem = Problem(weight.double(), hessian.double(), grid, made("ranges", Member(chosen)).bounds)
    width = grid.width(len(hessian))
    given, block, current = (loss(problem, size) for size in (len(hessian), max(BLOCK, width), width))
    return given, block, current


def random_problem(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Normal weights, and inputs of half rank with some noise and a few large channels."""
    generator = torch.Generator().manual_seed(seed)
    shared, mix = torch.randn(4 * n, n // 2, generator=generator), torch.randn(n // 2, n, generator=generator)
    x = shared @ mix / (n // 2) ** 0.5 + 0.5 * torch.randn(4 * n, n, generator=generator)
    x[:, :: n // 4] *= 6.0
    return torch.randn(ROWS, n, generator=generator), x.T @ x / len(x)


def sites(statistics: Path) -> Iterator[tuple[Tensor, Tensor]]:
    """Stacked weights and H of every site of the model that the statistics are of."""
    model = load(statistics / "manifest.json")["spec"]["model"]
    cell = Cell(Checkpoint(Path(model["path"])), normalize("rtn", {}), Grid(4), statistics, torch.device("cpu"))
    for index in cell.span:
        state = cell.state(index)
        yield from ((state.stacked(site), state.statistics[site.name].hessian) for site in state.sites if site.linears)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--statistics", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    print("| problem | grid | range | block / given | current / given | worst and best of current |")
    print("|---|---|---|---|---|---|")
    sets = {f"random, {n} columns": [random_problem(n, seed) for seed in range(args.seeds)] for n in WIDTHS}
    if args.statistics:
        sets[args.statistics.parent.name] = list(sites(args.statistics))
    for (name, problems), (scheme, grid), chosen in product(sets.items(), GRIDS.items(), RANGES):
        found = torch.tensor([compare(*problem, grid, chosen) for problem in problems], dtype=torch.float64)
        block, current = (found.sum(0)[1:] / found.sum(0)[0]).tolist()
        each = found[:, 2] / found[:, 0]
        print(
            f"| {name} | {scheme} | {chosen} | {block:.3f} | {current:.3f} | {each.max():.3f}, {each.min():.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
