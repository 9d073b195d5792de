"""What the stages of a layer take alone, and what the constants of the kernels choose among."""

from __future__ import annotations

import time
from collections import defaultdict
from functools import partial
from itertools import product

import torch
from torch import Tensor

from ptqbench import spec
from ptqbench.kernels import feedback as kernel
from ptqbench.linalg.factor import feedback, upper_factor
from ptqbench.linalg.proxy import proxy_loss
from ptqbench.methods import columns as solver
from ptqbench.methods.problem import Problem
from ptqbench.methods.ranges import minmax
from ptqbench.models.collect import collect_blocks
from ptqbench.statistics import hessian, magnitude, moments
from quantizing.bench import Bench
from quantizing.clock import sync, timed_call


def floor(bench: Bench) -> None:
    """Bare products of the layer's shapes in this run, and our stages alone (ms per layer)."""
    config, device = bench.checkpoint.config, bench.device
    hidden, inner, heads = (int(config[key]) for key in ("hidden_size", "intermediate_size", "num_attention_heads"))
    values = int(config["num_key_value_heads"]) * hidden // heads
    batches = bench.args.samples // bench.args.batch_size
    half = torch.bfloat16 if device.type == "cuda" else torch.float32
    parts: dict[str, float] = defaultdict(float)
    clock = partial(timed_call, device)
    for m, n in ((hidden + 2 * values, hidden), (hidden, hidden), (2 * inner, hidden), (hidden, inner)):
        x = torch.randn(bench.args.batch_size * bench.args.length, n, device=device, dtype=half)
        weight = torch.randn(m, n, device=device, dtype=half)
        parts["forward"] += batches * clock(partial(torch.mm, x, weight.T))
        parts["Hessians"] += batches * clock(partial(hessian.update, hessian.start(n, device), x))
        parts["other statistics"] += batches * clock(partial(magnitude.update, magnitude.start(n, device), x))
        parts["other statistics"] += batches * clock(partial(moments.update, moments.start(n, device), x))
        del x, weight
        square = torch.randn(n, n, device=device)
        square = square @ square.T / n + torch.eye(n, device=device)
        order, diagonal = torch.arange(n, device=device), square.diagonal()
        parts["factor (potrf alone)"] += clock(partial(torch.linalg.cholesky_ex, square))
        parts["factor"] += clock(partial(upper_factor, square, order, diagonal, 0.01))
        invert = partial(torch.linalg.solve_triangular, square, torch.eye(n, device=device), upper=True)
        parts["(triangular inverse, not needed)"] += clock(invert)
        factor = upper_factor(square, order, diagonal, 0.01)
        assert factor.upper is not None
        linear, pivots = feedback(factor.upper)
        whole = Problem(torch.randn(m, n, device=device), square, bench.grid, minmax.Minmax().bounds)
        columns = solver.in_order(whole, order)
        rounding = clock(partial(solver.solve, columns, linear, pivots, whole, None, 128))
        products = clock(partial(trailing_products, columns.weight, linear))
        parts["rounding"] += rounding
        parts["rounding (fp32 products alone)"] += products
        parts["one proxy loss"] += clock(partial(proxy_loss, whole.weight, square))
        parts["fit"] += clock(whole.fit)
        print(f"   {m} x {n}: rounding {1e3 * rounding:.2f} ms, its products {1e3 * products:.2f}", flush=True)
    print("alone, ms/layer: " + ", ".join(f"{name} {1e3 * seconds:.1f}" for name, seconds in parts.items()), flush=True)


def variants(bench: Bench) -> None:
    """Times of what the constants of the kernels choose among, and the pass with activations in host memory."""
    from ptqbench.kernels.feedback_triton import launch
    from ptqbench.models import stream

    clock, device = partial(timed_call, bench.device), bench.device
    for m in (4096, 28672):
        weight = torch.randn(128, m, device=device)
        linear = torch.randn(128, 128, device=device).triu() / 16
        ones = torch.ones(128, m, device=device)
        groups = torch.zeros(128, dtype=torch.int64, device=device)
        block = kernel.Block(weight.clone(), weight, linear, linear[0].abs(), ones[:1] / 2, 8 * ones[:1], groups)
        outputs = (ones.to(torch.uint8), torch.empty_like(weight), ones[0].clone())
        for chunk, rows_, warps in product((16, 32), (8, 16, 32), (1, 2)):
            run = partial(launch, block, bench.grid, *outputs, rows=rows_, warps=warps, chunk=chunk)
            words = f"{rows_} a program, chunks of {chunk}, {warps} warps: {1e6 * clock(run, 9):.0f} us"
            print(f"   kernel, {m} rows: {words}", flush=True)
    block_sizes(bench)
    for n, size in product((4096, 14336), (1024, 2048, 4096, 1 << 20)):
        x = torch.randn(bench.args.batch_size * bench.args.length, n, device=device, dtype=torch.bfloat16)
        before, hessian.BLOCK = hessian.BLOCK, size
        seconds = clock(partial(hessian.update, hessian.start(n, device), x))
        hessian.BLOCK = before
        print(f"   Hessian, {n} channels, blocks of {size}: {1e3 * seconds:.2f} ms a micro-batch", flush=True)
    found = []
    for share in (stream.SHARE, 0.0):
        kept, stream.SHARE = stream.SHARE, share
        begun = time.perf_counter()
        made = bench.skeleton()
        passed = collect_blocks(made, made.inputs(bench.tokens, bench.args.batch_size), spec.statistics())
        found.append([statistics["mlp_out.hessian"] for _, statistics in passed][-1])
        sync(device)
        print(
            f"   statistics with share {share}: {(time.perf_counter() - begun) / bench.layers:.3f} s/layer", flush=True
        )
        stream.SHARE = kept
    print(f"   the same statistics from host memory: {torch.equal(*found)}", flush=True)


def block_sizes(bench: Bench) -> None:
    """GPTQ's loop with blocks and panels of other sizes; the codes are the same."""
    clock, device, kept = partial(timed_call, bench.device), bench.device, solver.PANEL
    for m, n in ((4096, 4096), (28672, 4096), (4096, 14336)):
        square = torch.randn(n, n, device=device)
        square = square @ square.T / n + torch.eye(n, device=device)
        order = torch.arange(n, device=device)
        factor = upper_factor(square, order, square.diagonal(), 0.01)
        assert factor.upper is not None
        linear, pivots = feedback(factor.upper)
        whole = Problem(torch.randn(m, n, device=device), square, bench.grid, minmax.Minmax().bounds)
        columns = solver.in_order(whole, order)
        for size, panel in product((64, 128, 256), (4, 8, 16)):
            solver.PANEL = panel
            seconds = clock(partial(solver.solve, columns, linear, pivots, whole, None, size))
            print(f"   GPTQ, {m} x {n}: blocks of {size}, panels of {panel}: {1e3 * seconds:.2f} ms", flush=True)
    solver.PANEL = kept


def trailing_products(weight: Tensor, linear: Tensor) -> None:
    """The products of :func:`columns.solve` without its kernel."""
    target, n = weight.clone(), len(weight)
    for begin in range(0, n, 1024):
        end = min(begin + 1024, n)
        for start in range(begin, end, 128):
            stop = min(start + 128, end)
            target[stop:end].addmm_(linear[start:stop, stop:end].T, weight[start:stop])
        target[end:].addmm_(linear[begin:end, end:].T, weight[begin:end])
