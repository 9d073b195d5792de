"""Throughput of packed weights against bfloat16, served by vLLM at real size with random weights.

    PYTHONPATH=src python benchmarks/serving.py [--shape llama-3-8b] [--batches 1 64 256] [--folder DIR]
    PYTHONPATH=src python benchmarks/serving.py --weights w4g128 nvfp4 mxfp4 mxfp8 fp8 fp8-dynamic bf16

Writes the checkpoints directly (nothing is quantized; every layer holds the same random numbers, which costs a server
as much time as others would) and measures them one after the other, 4 bits first: benchmarks/results/serving.csv, which
is written after every row, so that a run that is cut short keeps what it measured. With a GPU it needs a vLLM of this
Python, or `make serve-cuda`; without one `make serve-cpu`. Room on disk: 16 GB,
for one checkpoint at a time.

`--weights w4g128 w4g128-marlin w4g128-humming bf16` measures the 4-bit weights by vLLM's own choice of a kernel
(Machete on Hopper), by Marlin and by Humming; floats are packed as the benchmark's cells are,
`fp8-dynamic` with inputs in FP8 by token. `--profile` records a few steps of decoding of each at batch 1, after
it was measured, and writes what every kernel takes of a token beside the table: `serving_token.csv`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import token_trace
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from ptqbench.artifacts.linear import QuantizedLinear
from ptqbench.devices import one_device, visible_gpus
from ptqbench.evaluation import throughput
from ptqbench.evaluation.backends import vllm
from ptqbench.evaluation.backends.text import Setup, Text
from ptqbench.evaluation.client import Refused, Unanswered
from ptqbench.evaluation.runtime import environment_marker
from ptqbench.formats import compressed_tensors
from ptqbench.formats.layout import Layout
from ptqbench.numbers.grid import make
from ptqbench.schemes import INTEGER, filled

INT4 = Layout(4, 128, True)
SPREAD = 0.02  # standard deviation of weights
CODES_SPREAD = 4.6  # of uniform 4-bit codes
POOL = 2**24  # random numbers, which every tensor repeats
OUT, LOGS = Path("benchmarks/results/serving.csv"), Path("benchmarks/runs")
KERNEL = re.compile(r"(?:Using|Selected) (\w+Kernel\w*) for")
BEFORE_HUMMING = ("Machete", "AllSpark", "Marlin", "Conch", "Exllama", "TritonW4A16")  # in vLLM's order of choice


class Weights(NamedTuple):
    """How a checkpoint's linears are stored (None: bfloat16), and variables for its server."""

    layout: Layout | None
    variables: dict[str, str]


def of_floats(number: str, activations: str = "none") -> Weights:
    """Linears of a number format of ``numbers/formats``."""
    scheme = filled({"number": number})
    layout = Layout(scheme["bits"], scheme["group_size"], True, activations, number=number)
    return Weights(layout, {})


WEIGHTS = {
    "w4g128": Weights(INT4, {}),
    "w4g128-marlin": Weights(INT4, {"VLLM_DISABLED_KERNELS": "MacheteLinearKernel"}),
    "w4g128-humming": Weights(
        INT4, {"VLLM_DISABLED_KERNELS": ",".join(f"{name}LinearKernel" for name in BEFORE_HUMMING)}
    ),
    **{number: of_floats(number) for number in ("nvfp4", "mxfp4", "mxfp8", "fp8")},
    "fp8-dynamic": of_floats("fp8", "fp8"),
    "bf16": Weights(None, {}),
}
SHAPES: dict[str, dict[str, int]] = {
    "llama-3-8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 128256,
        "max_position_embeddings": 8192,
    },
    "tiny": {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "vocab_size": 512,
        "max_position_embeddings": 256,
    },
}

Tensors = dict[str, torch.Tensor]


def linears(shape: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Rows and columns of a layer's linears."""
    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    queries, keys = (shape[f"num_{name}_heads"] * shape["head_dim"] for name in ("attention", "key_value"))
    attention = {"q_proj": (queries, hidden), "k_proj": (keys, hidden), "v_proj": (keys, hidden)}
    attention["o_proj"] = (hidden, queries)
    mlp = {"gate_proj": (inner, hidden), "up_proj": (inner, hidden), "down_proj": (hidden, inner)}
    return {f"self_attn.{k}": v for k, v in attention.items()} | {f"mlp.{k}": v for k, v in mlp.items()}


def normal(*size: int) -> torch.Tensor:
    """Random weights in bfloat16, which repeat after a while: a billion new ones take a good part of a minute."""
    pool = (torch.randn(min(POOL, math.prod(size))) * SPREAD).to(torch.bfloat16)
    return pool.repeat(-(-math.prod(size) // len(pool)))[: math.prod(size)].view(size)


def integers(name: str, m: int, n: int, layout: Layout) -> Tensors:
    """Random codes of one linear, as compressed-tensors stores them."""
    words = torch.randint(-(2**31), 2**31, (m, n * layout.bits // 32), dtype=torch.int64).to(torch.int32)
    scale = torch.full((m, n // layout.group_size), SPREAD / CODES_SPREAD, dtype=torch.bfloat16)
    shape = torch.tensor([m, n], dtype=torch.int64)
    return {f"{name}.weight_packed": words, f"{name}.weight_scale": scale, f"{name}.weight_shape": shape}


def floats(name: str, m: int, n: int, layout: Layout) -> Tensors:
    """Random weights of one linear, rounded to the nearest of a format."""
    grid = make(layout.number, layout.bits, layout.group_size, True)
    groups = grid.grouped(normal(m, n).float())
    ends = groups.abs().amax(-1)
    scale, zero = grid.from_bounds(-ends, ends)
    scale = grid.joint(scale)
    codes = grid.encode(groups, scale.unsqueeze(-1), zero.unsqueeze(-1)).flatten(1).to(torch.uint8)
    made = QuantizedLinear(
        codes, scale, zero.to(torch.uint8), layout.bits, True, number=layout.number, shared=grid.shared(scale)
    )
    return compressed_tensors.tensors(name, made, torch.bfloat16, layout)


def stored(name: str, m: int, n: int, layout: Layout | None) -> Tensors:
    """The tensors of one linear."""
    if layout is None:
        return {f"{name}.weight": normal(m, n)}
    return integers(name, m, n, layout) if layout.number == INTEGER else floats(name, m, n, layout)


def write_checkpoint(folder: Path, shape: dict[str, int], layout: Layout | None) -> Path:
    """A Llama of random weights, a shard per layer."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    hidden = shape["hidden_size"]
    layer: Tensors = {f"{name}_layernorm.weight": normal(hidden) + 1 for name in ("input", "post_attention")}
    for name, (m, n) in linears(shape).items():
        layer |= stored(name, m, n, layout)
    outside = {"model.norm.weight": normal(hidden) + 1, "lm_head.weight": normal(shape["vocab_size"], hidden)}
    outside["model.embed_tokens.weight"] = normal(shape["vocab_size"], hidden)
    shards = [{f"model.layers.{i}.{k}": v for k, v in layer.items()} for i in range(shape["num_hidden_layers"])]
    index: dict[str, str] = {}
    for number, tensors in enumerate([*shards, outside], 1):
        file = f"model-{number:05}-of-{len(shards) + 1:05}.safetensors"
        save_file(tensors, folder / file, {"format": "pt"})
        index |= dict.fromkeys(tensors, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16", **shape}
    config |= {"rms_norm_eps": 1e-5, "rope_theta": 500000.0, "hidden_act": "silu", "tie_word_embeddings": False}
    if layout is not None:
        config["quantization_config"] = compressed_tensors.settings(layout, ["lm_head"])
    (folder / "config.json").write_text(json.dumps(config))
    words = Tokenizer(WordLevel({f"t{i}": i for i in range(shape["vocab_size"])}, unk_token="t0"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="t0", eos_token="t1").save_pretrained(folder)
    return folder


def measure(
    folder: Path,
    suite: dict[str, Any],
    backend: str,
    device: str,
    marker: Path | None,
    log: Path,
    tokens: list[pl.DataFrame] | None,
) -> Iterator[dict[str, Any]]:
    """Serve one checkpoint and run the throughput suite on it; at last a token's kernels are added to ``tokens``."""
    text = Text(folder, remote=False)
    length = throughput.longest(suite, text.context)
    compiled = throughput.COMPILED and device == "cuda"
    with tempfile.TemporaryDirectory() as traces:
        flags = () if tokens is None else token_trace.flags(Path(traces))
        setup = Setup(backend, device, False, length, compiled, flags, marker, log)
        yield from served(text, setup, suite, Path(traces), tokens)


def served(
    text: Text, setup: Setup, suite: dict[str, Any], traces: Path, tokens: list[pl.DataFrame] | None
) -> Iterator[dict[str, Any]]:
    """The rows of one server, and its profile."""
    log = setup.log
    with vllm.opened(text, setup) as opened:
        record = opened.record()
        kernels = ", ".join(sorted(set(KERNEL.findall(log.read_text(errors="replace")))))
        for row in throughput.measured(opened, suite):
            yield {**row, "kernel": kernels, "device": record["device"], "server": record["server"]}
        if tokens is not None:
            prompt = throughput.Prompts(text.config.vocab_size, suite["prompt_tokens"]).take(1)[0]
            try:
                tokens.append(token_trace.record(opened.client, prompt, traces, text.config.num_hidden_layers))
            except (
                Refused,
                Unanswered,
                ValueError,
            ) as error:  # what was measured stands, and the next weights are measured
                print(f"{log.stem}: no profile: {error}", file=sys.stderr, flush=True)


@contextmanager
def variables(values: dict[str, str]) -> Iterator[None]:
    """Variables of the environment for a while, which servers inherit."""
    os.environ.update(values)
    yield
    for name in values:
        del os.environ[name]


def save(rows: list[dict[str, Any]], out: Path) -> None:
    """The table so far."""
    out.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, infer_schema_length=None).write_csv(out)


def tell(words: str, begun: float) -> None:
    """What took how long, on standard error."""
    print(f"{words}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", choices=WEIGHTS, nargs="+", default=["w4g128", "bf16"])
    parser.add_argument("--shape", choices=SHAPES, default="llama-3-8b")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64, 256])
    parser.add_argument("--prompt-tokens", type=int, default=throughput.PROMPT_TOKENS)
    parser.add_argument("--output-tokens", type=int, default=throughput.OUTPUT_TOKENS)
    parser.add_argument("--repeats", type=int, default=throughput.REPEATS)
    parser.add_argument("--folder", type=Path, help="where the checkpoints are written, and removed")
    parser.add_argument("--server", type=Path, help="marker of a serving environment, instead of the usual one")
    parser.add_argument("--profile", action="store_true", help="record what a token's time goes to")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--logs", type=Path, default=LOGS, help="where the servers' logs are kept")
    args = parser.parse_args(argv)
    backend = "vllm-cuda" if visible_gpus() else "vllm-cpu"
    usual = environment_marker(backend)
    marker = args.server or (Path(usual) if usual else None)
    suite = {key: vars(args)[key] for key in ("batches", "prompt_tokens", "output_tokens", "repeats")}
    args.logs.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    tokens: list[pl.DataFrame] = []
    with one_device(whole=True) as device, tempfile.TemporaryDirectory(dir=args.folder) as folder:
        made, layout = Path(folder) / "checkpoint", None
        for name in args.weights:
            begun, weights = time.perf_counter(), WEIGHTS[name]
            if not made.exists() or weights.layout != layout:
                shutil.rmtree(made, ignore_errors=True)
                layout = weights.layout
                write_checkpoint(made, SHAPES[args.shape], layout)
                tell(f"{name}: written", begun)
            shared = {"shape": args.shape, "weights": name, "date": date.today().isoformat(), **suite}
            del shared["batches"], shared["repeats"]
            with variables(weights.variables):
                log = args.logs / f"{name}.server.log"
                recorded: list[pl.DataFrame] | None = [] if args.profile else None
                for row in measure(made, suite, backend, device, marker, log, recorded):
                    rows.append({**shared, **row})
                    save(rows, args.out)
            tokens += [table.insert_column(0, pl.lit(name).alias("weights")) for table in recorded or []]
            if tokens:
                pl.concat(tokens).write_csv(args.out.with_name(f"{args.out.stem}_token.csv"))
            tell(f"{name}: measured", begun)
    show(pl.DataFrame(rows, infer_schema_length=None))
    if args.profile and len(tokens) < len(args.weights):
        sys.exit("not all weights have a profile")


def show(table: pl.DataFrame) -> None:
    """Every measure beside that of bfloat16, where it was measured."""
    wide = table.pivot(on="weights", index=["task", "metric"], values="value")
    packed = [name for name in wide.columns if name in WEIGHTS and name != "bf16"]
    if "bf16" in wide.columns:
        wide = wide.with_columns((pl.col(name) / pl.col("bf16")).alias(f"{name} / bf16") for name in packed)
    with pl.Config(tbl_rows=-1, tbl_formatting="ASCII_MARKDOWN", tbl_hide_column_data_types=True, tbl_width_chars=200):
        print(wide)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # by way of what cleans up
    main()
