"""Seconds and memory on one GPU, on models of random weights whose layers have a known model's shapes.

    PYTHONPATH=src python benchmarks/gpu.py [--peers llmcompressor,gptqmodel --peer-path FOLDER]

A few layers are measured, after a warm-up of every kernel, and their median is scaled to the whole model. Weights, and
the statistics of the rows that read them, come from files that were just written, so from the page cache. Writes
benchmarks/results/gpu.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from ptqbench import spec
from ptqbench.kernels import gptq as kernel
from ptqbench.kernels.clip import best_shrinks, best_shrinks_plain
from ptqbench.kernels.scaled import scaled_error, scaled_error_plain
from ptqbench.members import members
from ptqbench.models import collect
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.collect import collect_blocks
from ptqbench.models.skeleton import Skeleton
from ptqbench.pipeline import Download
from ptqbench.quantize import learning as training
from ptqbench.quantize import problem, propagate, site, state
from ptqbench.quantize.basis import SiteBasis
from ptqbench.quantize.factor import feedback, upper_factor
from ptqbench.quantize.grid import Grid
from ptqbench.quantize.linear import QuantizedLinear
from ptqbench.quantize.problem import Problem, processing_order
from ptqbench.quantize.propagate import PropagatedCell
from ptqbench.quantize.proxy import proxy_loss
from ptqbench.ranges import learned, minmax
from ptqbench.recipe import normalize
from ptqbench.rounding import gptq, ldlq
from ptqbench.stages.common import write
from ptqbench.statistics import hessian, magnitude, moments
from ptqbench.transforms import incoherence, rotation_hadamard, salience

LLAMA = {"model_type": "llama", "tie_word_embeddings": False, "max_position_embeddings": 8192, "rope_theta": 500000.0}
SHAPES: dict[str, tuple[int, dict[str, Any]]] = {  # layers of the whole model, and its config
    "llama3-8b": (32, {**LLAMA, "hidden_size": 4096, "intermediate_size": 14336}),
    "llama3-70b": (80, {**LLAMA, "hidden_size": 8192, "intermediate_size": 28672, "num_attention_heads": 64}),
    "mixtral-8x7b": (32, {"model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336}),
    "tiny": (2, {**LLAMA, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}),
    "tiny-mixtral": (
        2,
        {"model_type": "mixtral", "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4},
    ),
}
METHODS: dict[str, dict[str, Any]] = {
    "gptq": {"rounding": "gptq"},
    "awq": {"transform": "salience", "range": "search"},
    "quip": {"transform": "incoherence", "range": "rms", "rounding": "ldlq"},
    "quarot+gptq": {"transform": {"rotation": "hadamard"}, "rounding": "gptq"},
}
TARGETS = {"shared": 20.0, "propagated": 28.0, "omniquant": 600.0} | {f"cached {name}": 7.0 for name in METHODS}
FROM_A_TIE, LOSS_CHANGE = 1e-5, 1e-4  # of a step: float32 resolves 1e-6 of it at 15 steps; relative
OUT = Path("benchmarks/results/gpu.csv")
STAGES: dict[str, list[tuple[Any, str]]] = {
    "forward and statistics": [(collect, "advance"), (propagate, "advance"), (propagate, "collect_stage")],
    "Hessians": [(hessian, "update")],
    "other statistics": [(magnitude, "update"), (moments, "update")],
    "fold": [(hessian, "finish"), (state, "unfold")],
    "factor": [(gptq, "upper_factor"), (ldlq, "upper_factor")],
    "rounding": [(gptq, "solve"), (ldlq, "greedy_pass")],
    "range": [(problem.Problem, "fit")],
    "candidates": [(salience, "scaled_error"), (salience, "scaled_half")],
    "rotations": [(rotation_hadamard, "rotate_block")],
    "basis": [(SiteBasis, "forward"), (SiteBasis, "second_moment")],
    "dequantize": [(QuantizedLinear, "dequantize")],
    "losses": [(module, "proxy_loss") for module in (gptq, ldlq, site, salience)] + [(salience, "correlated")],
    "nearest losses": [(site, "nearest_losses"), (propagate, "nearest_losses")],
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="llama3-8b", choices=sorted(SHAPES))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--group-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=20, help="of OmniQuant; fewer are scaled to 20")
    parser.add_argument(
        "--rows",
        type=lambda text: text.split(","),
        help="also: variants, profile, profile-omniquant, profile-NAME of one more cell",
        default=["check", "floor", "shared", "propagated", "cached", "omniquant", "70b", "mixtral"],
    )
    parser.add_argument("--methods", type=lambda text: text.split(","), default=list(METHODS))
    parser.add_argument("--peers", type=lambda text: text.split(","), default=[], help="see peers.py")
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has the peers")
    parser.add_argument("--peer-path", default="", help="its PYTHONPATH")
    parser.add_argument("--peer-seconds", type=float, default=180.0, help="patience for each")
    parser.add_argument(
        "--profiles", type=Path, default=Path("profiles"), help="the folder that profiles are written to"
    )
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args(namespace=argparse.Namespace(failed=[]))


class Bench:
    """One model of random weights and the rows measured on it."""

    def __init__(self, args: argparse.Namespace, folder: Path, shape: str, layers: int) -> None:
        self.args, self.device, self.layers = args, torch.device(args.device), layers
        self.shape, self.whole, self.folder = shape, SHAPES[shape][0], folder / shape
        if not self.folder.is_dir():
            make_model(self.folder, SHAPES[shape][1], layers, self.device)
        self.checkpoint = Checkpoint(self.folder)
        self.grid = Grid(4, args.group_size)
        vocabulary = int(self.checkpoint.config["vocab_size"])
        generator = torch.Generator().manual_seed(1)
        self.tokens = torch.randint(3, vocabulary, (args.samples, args.length), generator=generator)
        self.statistics = self.folder / "statistics"
        self.rows: list[dict[str, Any]] = []

    def cell(self, method: dict[str, Any], half_integer: bool = False) -> PropagatedCell:
        grid = Grid(self.grid.bits, self.grid.group_size, half_integer=half_integer)
        recipe = normalize("benchmark", method)
        return PropagatedCell(self.checkpoint, recipe, grid, self.statistics, self.device, self.tokens)

    def skeleton(self) -> Skeleton:
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        return Skeleton(self.checkpoint, self.device, dtype)

    def shared(self) -> Iterator[Any]:
        """Statistics and GPTQ in one go: what the two stages do, without the disk between them."""
        skeleton, cell = self.skeleton(), self.cell(METHODS["gptq"])
        inputs = skeleton.inputs(self.tokens, self.args.batch_size)
        yield from cell.blocks(collect_blocks(skeleton, inputs, spec.statistics()))

    def propagated(self, method: dict[str, Any]) -> Iterator[Any]:
        """The same, each site behind the quantized ones."""
        yield from self.cell({**method, "propagate": True}).propagated(self.skeleton(), self.args.batch_size)

    def train(self, epochs: int) -> list[Any]:
        """One layer of OmniQuant's range, with GPTQ after it."""
        method = {"range": {"learned": {"epochs": epochs}}, "rounding": "gptq"}
        return [next(iter(self.propagated(method)))]

    def cached(self, method: dict[str, Any]) -> Iterator[Any]:
        """One more cell from statistics on disk."""
        cell = self.cell(method, half_integer=method.get("range") == "rms")
        cell.prepare()
        yield None  # what is done once for the whole model ends here
        yield from cell.blocks()

    def collect(self) -> None:
        """The statistics stage, to disk."""
        skeleton = self.skeleton()
        inputs = skeleton.inputs(self.tokens, self.args.batch_size)
        for index, (_, found) in enumerate(collect_blocks(skeleton, inputs, spec.statistics())):
            write(self.statistics / f"block-{index:03d}.safetensors", Download(found))

    def measure(self, name: str, run: Callable[[], Iterable[Any]], once: bool = False, stages: bool = True) -> None:
        """Time each block that ``run`` yields; with ``once``, what comes before the first is not scaled."""
        sync(self.device)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        stamps = [time.perf_counter()]
        with stage_times(self.device) as spent:
            for _ in run():
                sync(self.device)
                stamps.append(time.perf_counter())
        laps = [after - before for before, after in pairwise(stamps)]
        first = laps.pop(0) if once else 0.0
        row = {
            "row": name,
            "shape": self.shape,
            "s_per_layer": median(laps),
            "whole_model_s": first + self.whole * median(laps),
            "target_s": TARGETS.get(name),
            "peak_gib": peak(self.device),
            "layers_measured": len(laps),
        }
        self.rows.append(row)
        times = f"{row['s_per_layer']:.4f} s/layer, {row['whole_model_s']:.2f} s, {row['peak_gib']:.2f} GiB"
        detail = " ".join(f"{lap:.3f}" for lap in laps)
        print(f"{name}: {times}; laps {detail}; before {first:.3f}", flush=True)
        if stages:
            parts = ", ".join(f"{stage} {1000 * seconds / len(laps):.1f}" for stage, seconds in spent.items())
            print(f"   ms/layer on the device: {parts}", flush=True)


def make_model(folder: Path, config: dict[str, Any], layers: int, device: torch.device) -> None:
    """A model folder with normal weights (0.02) and norms of one, bfloat16, one file a block."""
    heads = {"num_attention_heads": 32, "num_key_value_heads": 8}
    if config.get("num_attention_heads") == 4:
        heads = {"num_key_value_heads": 2}
    made = AutoConfig.for_model(**{**heads, **config, "num_hidden_layers": layers, "vocab_size": 8192})
    made.architectures, made.dtype = None, "bfloat16"
    with torch.device("meta"):
        shapes = AutoModelForCausalLM.from_config(made, dtype=torch.bfloat16).state_dict()
    folder.mkdir(parents=True)
    made.save_pretrained(folder)
    files: dict[str, dict[str, Tensor]] = defaultdict(dict)
    torch.manual_seed(0)
    for name, shape in checkpoint_shapes(shapes).items():
        normal = torch.randn(shape, device=device) * 0.02 if len(shape) > 1 else torch.ones(shape)
        part = name.split(".layers.")[1].split(".")[0] if ".layers." in name else "outside"
        files[part][name] = normal.to("cpu", torch.bfloat16)
    index = {name: f"model-{part}.safetensors" for part, tensors in files.items() for name in tensors}
    for part, tensors in files.items():
        save_file(tensors, folder / f"model-{part}.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def checkpoint_shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes under the names of a checkpoint: Mixtral's experts are fused in the model, and one by one on disk."""
    found: dict[str, tuple[int, ...]] = {}
    for name, tensor in tensors.items():
        place, _, fused = name.partition(".mlp.experts.")
        if not fused:
            found[name.replace(".mlp.gate.", ".block_sparse_moe.gate.")] = tuple(tensor.shape)
            continue
        leaves, (experts, m, n) = ("w2",) if fused == "down_proj" else ("w1", "w3"), tensor.shape
        for expert, leaf in product(range(experts), leaves):
            found[f"{place}.block_sparse_moe.experts.{expert}.{leaf}.weight"] = (m // len(leaves), n)
    return found


def sync(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0


@contextmanager
def stage_times(device: torch.device) -> Iterator[dict[str, float]]:
    """Seconds on the device's own time line inside the functions of ``STAGES``, summed when the context closes."""
    spent: dict[str, float] = {}
    if device.type != "cuda":
        yield spent
        return
    marks: dict[str, list[tuple[Any, Any]]] = defaultdict(list)
    originals = [(owner, name, getattr(owner, name)) for places in STAGES.values() for owner, name in places]

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            result = function(*args, **kwargs)
            end.record()
            marks[stage].append((begin, end))
            return result

        return call

    for stage, places in STAGES.items():
        for owner, name in places:
            setattr(owner, name, timed(stage, getattr(owner, name)))
    try:
        yield spent
    finally:
        for owner, name, function in originals:
            setattr(owner, name, function)
        sync(device)
        spent |= {s: sum(begin.elapsed_time(end) for begin, end in pairs) / 1000 for s, pairs in marks.items()}


def timed_call(device: torch.device, function: Callable[[], Any], repeat: int = 3) -> float:
    """Median seconds of a call, after one that is not counted."""
    function()
    found = []
    for _ in range(repeat):
        sync(device)
        begun = time.perf_counter()
        function()
        sync(device)
        found.append(time.perf_counter() - begun)
    return median(found)


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
        whole = Problem(torch.randn(m, n, device=device), square, bench.grid, minmax.bounds)
        columns = gptq.in_order(whole, order)
        rounding = clock(partial(gptq.solve, columns, linear, pivots, whole, None, 128))
        products = clock(partial(trailing_products, columns.weight, linear))
        parts["rounding"] += rounding
        parts["rounding (fp32 products alone)"] += products
        parts["one proxy loss"] += clock(partial(proxy_loss, whole.weight, square))
        parts["fit"] += clock(whole.fit)
        print(f"   {m} x {n}: rounding {1e3 * rounding:.2f} ms, its products {1e3 * products:.2f}", flush=True)
    print("alone, ms/layer: " + ", ".join(f"{name} {1e3 * seconds:.1f}" for name, seconds in parts.items()), flush=True)


def variants(bench: Bench) -> None:
    """Times of what the constants of the kernels choose among, and the pass with activations in host memory."""
    from ptqbench.kernels.gptq_triton import launch
    from ptqbench.models import skeleton

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
    for n, size in product((4096, 14336), (1024, 2048, 4096, 1 << 20)):
        x = torch.randn(bench.args.batch_size * bench.args.length, n, device=device, dtype=torch.bfloat16)
        before, hessian.BLOCK = hessian.BLOCK, size
        seconds = clock(partial(hessian.update, hessian.start(n, device), x))
        hessian.BLOCK = before
        print(f"   Hessian, {n} channels, blocks of {size}: {1e3 * seconds:.2f} ms a micro-batch", flush=True)
    found = []
    for share in (skeleton.SHARE, 0.0):
        before, skeleton.SHARE = skeleton.SHARE, share
        begun = time.perf_counter()
        made = bench.skeleton()
        passed = collect_blocks(made, made.inputs(bench.tokens, bench.args.batch_size), spec.statistics())
        found.append([statistics["mlp_out.hessian"] for _, statistics in passed][-1])
        sync(device)
        print(
            f"   statistics with share {share}: {(time.perf_counter() - begun) / bench.layers:.3f} s/layer", flush=True
        )
        skeleton.SHARE = before
    print(f"   the same statistics from host memory: {torch.equal(*found)}", flush=True)


def trailing_products(weight: Tensor, linear: Tensor) -> None:
    """The products of :func:`gptq.solve` without its kernel."""
    target, n = weight.clone(), len(weight)
    for begin in range(0, n, 1024):
        end = min(begin + 1024, n)
        for start in range(begin, end, 128):
            stop = min(start + 128, end)
            target[stop:end].addmm_(linear[start:stop, stop:end].T, weight[start:stop])
        target[end:].addmm_(linear[begin:end, end:].T, weight[begin:end])


def check(bench: Bench) -> None:
    """Kernels and products by parts against their plain twins on every site of a block that a pass has seen."""
    skeleton, cell = bench.skeleton(), bench.cell(METHODS["gptq"])
    inputs = skeleton.inputs(bench.tokens[: max(8, bench.args.samples // 4)], bench.args.batch_size)
    tensors, found = next(collect_blocks(skeleton, inputs, spec.statistics()))
    block = cell.state_of(0, tensors, found)
    for place in (each for each in block.sites if each.linears):
        weight = block.stacked(place)[:4096]
        whole = Problem(weight, block.statistics[place.name].hessian, bench.grid, minmax.bounds)
        diagonal = whole.hessian.diagonal()
        order = processing_order(diagonal, True)
        factor = upper_factor(whole.hessian, order, diagonal, 0.01)
        assert factor.upper is not None
        columns, (linear, pivots) = gptq.in_order(whole, order), feedback(factor.upper)
        fast = gptq.solve(columns, linear, pivots, whole, None, 128).codes
        with replaced(gptq, "round_block", kernel.round_block_plain), replaced(gptq, "add_product", Tensor.addmm_):
            plain = gptq.solve(columns, linear, pivots, whole, None, 128).codes
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


def greedy(columns: gptq.Columns, codes: Tensor, whole: Problem, order: Tensor) -> str:
    """A greedy pass with products by parts against one with plain products, from the same codes."""
    permuted = whole.hessian[order][:, order]
    fast = ldlq.greedy_pass(columns, codes, permuted, whole, 128)
    with replaced(ldlq, "hold", Tensor.clone), replaced(ldlq, "product", torch.mm):
        plain = ldlq.greedy_pass(columns, codes, permuted, whole, 128)
    deltas = [(columns.weight - ldlq.decode(columns, found, whole)).double() for found in (fast, plain)]
    losses = [((permuted.double() @ delta) * delta).sum() for delta in deltas]
    change = (losses[0] / losses[1] - 1).item()
    return f"{(fast != plain).double().mean().item():.2e} of the codes differ, proxy loss by {change:+.1e}"


@contextmanager
def replaced(module: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Another function in a module's place for a while."""
    original = getattr(module, name)
    setattr(module, name, function)
    try:
        yield
    finally:
        setattr(module, name, original)


def agreement(
    columns: gptq.Columns, linear: Tensor, whole: Problem, order: Tensor, fast: Tensor, plain: Tensor
) -> tuple[str, float, float]:
    """Where two roundings differ, in words; how near a tie the first difference of each row is; the loss's change.

    Only a row's first difference has to be a tie: its error is fed back, so that later columns are other problems.
    """
    scale, zero = columns.scale[columns.groups].double(), columns.zero[columns.groups].double()
    values = [scale * (codes.double() - zero) for codes in (fast, plain)]
    deltas = [columns.weight.double() - value for value in values]
    target = columns.weight.double() + linear.double().triu(1).T @ deltas[1]
    differs = fast != plain
    first = differs.int().argmax(0)
    rows = differs.any(0).nonzero().flatten()
    steps = (target / scale)[first[rows], rows]
    distance = ((steps - steps.floor()) - 0.5).abs()
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


def profiled(bench: Bench, name: str, run: Callable[[], Iterable[Any]]) -> None:
    """The longest kernels of what ``run`` does, and a table of the slowest calls on the host."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if bench.device.type == "cuda" else [])]
    with profile(activities=activities) as found:
        for _ in run():
            pass
        sync(bench.device)
    key = "self_device_time_total" if bench.device.type == "cuda" else "self_cpu_time_total"
    averages = found.key_averages()
    tables = [
        averages.table(sort_by=order, row_limit=45, max_name_column_width=90) for order in (key, "self_cpu_time_total")
    ]
    folder: Path = bench.args.profiles
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.txt").write_text("\n".join(tables))


def run_peer(name: str, bench: Bench) -> dict[str, Any]:
    """A peer's seconds per layer of the same model, from its own process, or why there are none."""
    args, warm = bench.args, bench.folder.with_name(f"{bench.shape}-warm")
    if not warm.is_dir():
        make_model(warm, SHAPES[bench.shape][1], 1, bench.device)
    command = [
        args.peer_python,
        str(Path(__file__).with_name("peers.py")),
        name,
        str(bench.folder),
        "--warm",
        str(warm),
    ]
    command += ["--device", args.device, "--samples", str(args.samples), "--length", str(args.length)]
    command += ["--batch-size", str(args.batch_size), "--group-size", str(args.group_size)]
    command += ["--offload", "cuda:0"] if name == "llmcompressor" and args.device == "cuda" else []
    libraries = ":".join(filter(None, (args.peer_path, os.environ.get("LD_LIBRARY_PATH"))))
    env = {**os.environ, "PYTHONPATH": args.peer_path, "LD_LIBRARY_PATH": libraries}
    log = args.out.with_name(f"{args.out.stem}.{bench.shape}.{name}.log")
    found: dict[str, Any] = {}
    with open(log, "w") as stream:
        try:
            subprocess.run(command, env=env, stdout=stream, stderr=stream, timeout=args.peer_seconds, check=False)
        except subprocess.TimeoutExpired:
            print(f"{name} did not finish within {args.peer_seconds:.0f} s", file=stream)
    for line in log.read_text(errors="replace").splitlines():
        found = json.loads(line.removeprefix("BENCH ")) if line.startswith("BENCH ") else found
    if not found:
        print(f"{bench.shape} {name} did not run: see {log}", flush=True)
        return {"row": name, "shape": bench.shape}
    log.unlink()
    seconds, gib = found["s_per_layer"], found["peak_gpu_gib"]
    print(f"{bench.shape} {name} {found['version']}: laps {found['laps']} s, {gib} GiB", flush=True)
    return {
        "row": f"{name} {found['version']}",
        "shape": bench.shape,
        "s_per_layer": seconds,
        "whole_model_s": bench.whole * seconds,
        "peak_gib": gib,
        "layers_measured": len(found["laps"]),
    }


def rows(args: argparse.Namespace, folder: Path) -> None:
    """Everything that was asked for, on one model after another, and the peers last."""
    bench = Bench(args, folder, args.shape, args.layers)
    print("warm-up", flush=True)
    for run in (bench.shared, partial(bench.propagated, METHODS["gptq"])):
        next(iter(run()))
    others: list[Bench] = []

    def other(shape: str) -> None:
        others.append(Bench(args, folder, shape, 2))
        others[-1].measure(f"{shape} shared", others[-1].shared)

    steps: dict[str, Callable[[], None]] = {
        "check": partial(check, bench),
        "floor": partial(floor, bench),
        "variants": partial(variants, bench),
        "shared": partial(bench.measure, "shared", bench.shared),
        "propagated": partial(bench.measure, "propagated", partial(bench.propagated, METHODS["gptq"])),
        "cached": partial(cached, bench),
        "profile": partial(profiled, bench, "shared", bench.shared),
        "profile-omniquant": partial(profiled, bench, "omniquant", partial(bench.train, 1)),
        "omniquant": partial(learning, args, bench),
        "70b": partial(other, "llama3-70b"),
        "mixtral": partial(other, "mixtral-8x7b"),
    }
    for name, method in METHODS.items():
        steps[f"profile-{name}"] = partial(profiled, bench, name, partial(bench.cached, method))

    def compared(name: str, other: Bench) -> None:
        other.rows.append(run_peer(name, other))

    for name in args.rows:
        if name == "mixtral" and name not in members("models/adapters"):
            print("mixtral: skipped, there is no adapter for it")
            continue
        attempt(args, name, steps[name], (bench, *others))
    for each, name in product((bench, *others), args.peers):
        if each.shape in (args.shape, "mixtral-8x7b"):
            attempt(args, name, partial(compared, name, each), (bench, *others))


def attempt(args: argparse.Namespace, name: str, step: Callable[[], None], benches: tuple[Bench, ...]) -> None:
    """One step, and the table after it: what fails is told, and leaves the others be."""
    try:
        step()
    except Exception:
        args.failed.append(name)
        traceback.print_exc()
    save(args, [row for each in benches for row in each.rows])


def save(args: argparse.Namespace, found: list[dict[str, Any]]) -> None:
    """Write the table so far: a run that is cut short keeps what it measured."""
    host = {
        "shape": args.shape,
        "tokens": args.samples * args.length,
        "device": torch.cuda.get_device_name() if args.device == "cuda" else platform.machine(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with open(args.out, "w", newline="") as stream:
        names = ["row", "s_per_layer", "whole_model_s", "target_s", "peak_gib", "layers_measured", *host]
        table = csv.DictWriter(stream, names)
        table.writeheader()
        table.writerows({**host, **row} for row in found)


def cached(bench: Bench) -> None:
    """The statistics stage to disk, then one more cell of each method."""
    begun = time.perf_counter()
    bench.collect()
    print(f"statistics with writing: {(time.perf_counter() - begun) / bench.layers:.3f} s/layer", flush=True)
    for name in bench.args.methods:
        warm = bench.cached(METHODS[name])
        next(warm), next(warm)
        warm.close()
        incoherence.transform.cache_clear()
        bench.measure(f"cached {name}", partial(bench.cached, METHODS[name]), once=True)


def learning(args: argparse.Namespace, bench: Bench) -> None:
    """One layer of OmniQuant's range with GPTQ after it; of fewer epochs, steps and looks are scaled to 20 apart."""
    bench.train(1)  # compiles the kernels of training
    with looks(bench.device) as found:
        bench.measure("omniquant", lambda: bench.train(args.epochs), stages=False)
    row, steps = bench.rows[-1], args.epochs * args.samples
    looking = sum(between(*look) for look in found)
    stepping = sum(
        between(before[1], after[0]) for before, after in pairwise(found[1:])
    )  # of the full range: the first
    rest = row["s_per_layer"] - looking - stepping
    print(
        f"   {steps} steps of {1000 * stepping / steps:.2f} ms, {len(found)} looks at all sequences of "
        f"{1000 * looking / len(found):.1f} ms, {rest:.3f} s of the rest",
        flush=True,
    )
    if args.epochs != 20:
        more = 20 * args.samples
        often = 2 + math.ceil(more / learned.check_every(more, args.samples))
        row["s_per_layer"] = rest + stepping * more / steps + looking * often / len(found)
        row["whole_model_s"] = bench.whole * row["s_per_layer"]
        print(
            f"   scaled to 20 epochs, {more} steps and {often} looks: {row['s_per_layer']:.3f} s/layer, "
            f"{row['whole_model_s']:.0f} s",
            flush=True,
        )


@contextmanager
def looks(device: torch.device) -> Iterator[list[tuple[Any, Any]]]:
    """When each look at all sequences of a training began and ended; between them are its steps."""
    found: list[tuple[Any, Any]] = []
    original = training.total_loss

    def timed(*args: Any) -> float:
        begun = moment(device)
        loss = original(*args)
        found.append((begun, moment(device)))
        return loss

    with replaced(training, "total_loss", timed), replaced(learned, "total_loss", timed):
        yield found


def moment(device: torch.device) -> Any:
    """Now, on the device's own time line."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def between(begin: Any, end: Any) -> float:
    """Between two moments that have passed."""
    return end - begin if isinstance(begin, float) else begin.elapsed_time(end) / 1000


def main() -> None:
    args = arguments()
    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as folder:
        rows(args, Path(folder))
    print(args.out.read_text())
    if args.failed:
        sys.exit(f"failed: {', '.join(args.failed)}")


if __name__ == "__main__":
    main()
