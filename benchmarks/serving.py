"""Throughput of packed 4-bit weights against bfloat16, served by vLLM at real size with random weights.

    PYTHONPATH=src python benchmarks/serving.py [--shape llama-3-8b] [--batches 1 64 256] [--folder DIR]

Writes both checkpoints directly (nothing is quantized; every layer holds the same random numbers, which costs a server
as much time as others would) and measures them one after the other: benchmarks/results/serving.csv. With a GPU it needs
a vLLM of this Python, or `make serve-cuda`; without one `make serve-cpu`. Room on disk: the bfloat16 weights (16 GB).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from ptqbench.devices import one_device, visible_gpus
from ptqbench.evaluation import throughput
from ptqbench.evaluation.backends import vllm
from ptqbench.evaluation.backends.text import Setup, Text
from ptqbench.evaluation.runtime import environment_marker
from ptqbench.formats import compressed_tensors
from ptqbench.formats.layout import Layout

LAYOUT = Layout(4, 128, True)
SPREAD = 0.02  # standard deviation of weights
CODES_SPREAD = 4.6  # of uniform 4-bit codes
OUT = Path("benchmarks/results/serving.csv")
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
    """Random weights in bfloat16."""
    return (torch.randn(*size) * SPREAD).to(torch.bfloat16)


def packed(name: str, m: int, n: int) -> Tensors:
    """Random codes of one linear, as compressed-tensors stores them."""
    words = torch.randint(-(2**31), 2**31, (m, n * LAYOUT.bits // 32), dtype=torch.int64).to(torch.int32)
    scale = torch.full((m, n // LAYOUT.group_size), SPREAD / CODES_SPREAD, dtype=torch.bfloat16)
    shape = torch.tensor([m, n], dtype=torch.int64)
    return {f"{name}.weight_packed": words, f"{name}.weight_scale": scale, f"{name}.weight_shape": shape}


def write_checkpoint(folder: Path, shape: dict[str, int], quantized: bool) -> Path:
    """A Llama of random weights, a shard per layer."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    hidden = shape["hidden_size"]
    layer: Tensors = {f"{name}_layernorm.weight": normal(hidden) + 1 for name in ("input", "post_attention")}
    for name, (m, n) in linears(shape).items():
        layer |= packed(name, m, n) if quantized else {f"{name}.weight": normal(m, n)}
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
    if quantized:
        config["quantization_config"] = compressed_tensors.settings(LAYOUT, ["lm_head"])
    (folder / "config.json").write_text(json.dumps(config))
    words = Tokenizer(WordLevel({f"t{i}": i for i in range(shape["vocab_size"])}, unk_token="t0"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="t0", eos_token="t1").save_pretrained(folder)
    return folder


def measure(
    folder: Path, suite: dict[str, Any], backend: str, device: str, marker: Path | None
) -> list[dict[str, Any]]:
    """Serve one checkpoint and run the throughput suite on it."""
    text = Text(folder, remote=False)
    length = throughput.longest(suite, text.context)
    log = OUT.parent.parent / "runs" / f"{folder.name}.server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    setup = Setup(backend, device, False, length, throughput.COMPILED and device == "cuda", (), marker, log)
    with vllm.opened(text, setup) as opened:
        rows = throughput.run(opened, suite)
        record = opened.record()
    return [{**row, "device": record["device"], "server": record["server"]} for row in rows]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="llama-3-8b")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64, 256])
    parser.add_argument("--prompt-tokens", type=int, default=throughput.PROMPT_TOKENS)
    parser.add_argument("--output-tokens", type=int, default=throughput.OUTPUT_TOKENS)
    parser.add_argument("--repeats", type=int, default=throughput.REPEATS)
    parser.add_argument("--folder", type=Path, help="where the checkpoints are written, and removed")
    parser.add_argument("--server", type=Path, help="marker of a serving environment, instead of the usual one")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args(argv)
    backend = "vllm-cuda" if visible_gpus() else "vllm-cpu"
    usual = environment_marker(backend)
    marker = args.server or (Path(usual) if usual else None)
    suite = {key: vars(args)[key] for key in ("batches", "prompt_tokens", "output_tokens", "repeats")}
    rows = []
    with one_device(whole=True) as device:
        for name in ("bf16", "w4g128"):
            with tempfile.TemporaryDirectory(dir=args.folder) as folder:
                made = write_checkpoint(Path(folder) / name, SHAPES[args.shape], quantized=name != "bf16")
                found = measure(made, suite, backend, device, marker)
            rows += [{"shape": args.shape, "weights": name, **row} for row in found]
    table = pl.DataFrame(rows)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    table.write_csv(args.out)
    wide = table.pivot(on="weights", index=["task", "metric"], values="value")
    with pl.Config(tbl_rows=-1, tbl_formatting="ASCII_MARKDOWN", tbl_hide_column_data_types=True, tbl_width_chars=200):
        print(wide.with_columns(ratio=pl.col("w4g128") / pl.col("bf16")))


if __name__ == "__main__":
    main()
