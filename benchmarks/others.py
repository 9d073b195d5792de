"""Checkpoints of llm-compressor and gptqmodel as `checkpoints:` cells, beside their makers' own evaluation.

    PYTHONPATH=src python benchmarks/others.py FOLDER --llmcompressor PATHS --gptqmodel PATHS

PATHS are PYTHONPATHs that have these packages; what is left out is not run. Each peer quantizes pocket-llama in a
process of its own, loads what it wrote by its own means (transformers with compressed-tensors in float32;
GPTQModel.load in float16, as its kernels take no wider type), and takes the perplexity in a plain loop over windows of
tokens. The workflow then evaluates the same folders in FOLDER, in float32. Writes benchmarks/results/others.csv: both
perplexities, the bits per weight of the stored bytes, and what the page says of each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MODEL, SUITE = "pocket-llama", "perplexity"
TEXTS = {part: ROOT / f"resources/text/wikitext-2-raw.{part}.txt.zst" for part in ("valid", "test")}
SAMPLES, WINDOWS, LENGTH = 64, 32, 512
MADE: dict[str, dict[str, Any]] = {  # by package: what it makes
    "llmcompressor": {"w4a16-gptq": "W4A16", "fp8": "FP8_DYNAMIC", "nvfp4a16": "NVFP4A16", "nvfp4": "NVFP4"},
    "gptqmodel": {"gptq": {}, "gptq-act-order": {"desc_act": True}, "gptq-3": {"bits": 3, "sym": False}},
}


def llmcompressor(model: Path, rows: list[list[int]], scheme: str, out: Path) -> None:
    """What the peer's process does: a checkpoint of compressed-tensors."""
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from transformers import AutoModelForCausalLM, AutoTokenizer

    modifier = GPTQModifier if scheme.startswith("W4") else QuantizationModifier
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    oneshot(
        model=loaded,
        dataset=Dataset.from_dict({"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows]}),
        recipe=[modifier(targets=["Linear"], scheme=scheme, ignore=["lm_head"])],
        tokenizer=AutoTokenizer.from_pretrained(model),
        max_seq_length=len(rows[0]),
        num_calibration_samples=len(rows),
    )
    loaded.save_pretrained(out, save_compressed=True)
    AutoTokenizer.from_pretrained(model).save_pretrained(out)


def gptqmodel(model: Path, rows: list[list[int]], changed: dict[str, Any], out: Path) -> None:
    """The same of the gptq layout."""
    from gptqmodel import GPTQModel, QuantizeConfig

    settings = {"bits": 4, "group_size": 128, "sym": True, "desc_act": False, **changed}
    loaded = GPTQModel.load(str(model), QuantizeConfig(**settings), device="cpu")
    loaded.quantize([{"input_ids": row, "attention_mask": [1] * len(row)} for row in rows], batch_size=1)
    loaded.save(str(out))


def load(package: str, folder: Path) -> Any:
    """A checkpoint as its maker loads it."""
    import torch

    if package == "gptqmodel":
        from gptqmodel import BACKEND, GPTQModel

        return GPTQModel.load(str(folder), device="cpu", backend=BACKEND.GPTQ_TORCH, dtype=torch.float16).model
    from transformers import AutoModelForCausalLM, CompressedTensorsConfig

    whole = CompressedTensorsConfig(run_compressed=False)  # weights that are decompressed on the way keep 16 bits
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, quantization_config=whole)
    for name, weight in loaded.named_parameters():
        if name.endswith(".weight"):
            weight.data = weight.data.float()
    return loaded


def perplexity(model: Any, windows: list[list[int]]) -> float:
    """Of windows of equal length, each by itself."""
    import torch

    losses = []
    with torch.no_grad():
        for window in windows:
            ids = torch.tensor([window])
            scores = model(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
            losses.append(-scores.gather(1, ids[0, 1:, None]).mean().item())
    return float(torch.tensor(losses).mean().exp())


def work(package: str, settings: str, tokens: Path, out: Path) -> None:
    """What a peer's process does: make, load, evaluate, write the number."""
    given = json.loads(tokens.read_text())
    if not out.is_dir():
        globals()[package](ROOT / "resources/models" / MODEL, given["valid"], json.loads(settings), out)
    out.with_suffix(".json").write_text(json.dumps(perplexity(load(package, out).eval(), given["test"])))


def tokens_of(part: str, count: int) -> list[list[int]]:
    """The first ``count`` windows of a text."""
    from transformers import AutoTokenizer

    from ptqbench.data.corpora import read_corpus

    tokenizer = AutoTokenizer.from_pretrained(ROOT / "resources/models" / MODEL)
    ids = tokenizer(read_corpus(str(TEXTS[part]), "evaluation").stream, verbose=False)["input_ids"]
    return [ids[start : start + LENGTH] for start in range(0, count * LENGTH, LENGTH)]


def made(args: argparse.Namespace) -> dict[str, float]:
    """Every checkpoint by name, with its perplexity by its maker's own means."""
    tokens = args.folder / "tokens.json"
    tokens.write_text(json.dumps({"valid": tokens_of("valid", SAMPLES), "test": tokens_of("test", WINDOWS)}))
    found = {}
    for package, wanted in MADE.items():
        if not (path := getattr(args, package)):
            continue
        env = {**os.environ, "PYTHONPATH": path, "GPTQMODEL_CPU_WORKERS": "2", "CUDA_VISIBLE_DEVICES": ""}
        for name, settings in wanted.items():
            out = args.folder / f"{package}-{name}"
            command = [sys.executable, __file__, "--work", package, json.dumps(settings), str(tokens), str(out)]
            if not out.with_suffix(".json").is_file():
                with open(out.with_suffix(".log"), "w") as log:
                    done = subprocess.run(command, env=env, cwd=args.folder, stdout=log, stderr=log, check=False)
                if done.returncode:
                    sys.exit(f"{name} of {package} failed: see {log.name}")
            found[out.name] = json.loads(out.with_suffix(".json").read_text())
    return found


def evaluated(folder: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """The results of the workflow by checkpoint."""
    import yaml

    from ptqbench import engine

    config = {
        "models": {MODEL: {"path": str(ROOT / "resources/models" / MODEL)}},
        "checkpoints": {name: {"path": name, "of": MODEL} for name in names},
        "calibration": {"wikitext2": {"corpus": str(TEXTS["valid"]), "samples": SAMPLES, "sequence_length": LENGTH}},
        "schemes": {"w4g128": {"bits": 4, "group_size": 128, "symmetric": True}},
        "methods": {"gptq": {"rounding": "gptq"}},
        "suites": {
            SUITE: {"kind": "perplexity", "corpora": {"test": str(TEXTS["test"])}, "limit": WINDOWS, "window": LENGTH}
        },
        "backend": "transformers",
        "grid": [{"models": [MODEL], "methods": ["gptq"], "schemes": ["w4g128"], "suites": [SUITE]}],
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    if engine.run(engine.arguments(folder, "2"), folder):
        sys.exit("the workflow failed, as told above")
    files = {name: folder / f"results/eval/{MODEL}/unknown/{name}/theirs/{SUITE}.json" for name in names}
    return {name: json.loads(file.read_text()) for name, file in files.items()}


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        package, settings, tokens, out = sys.argv[2:]
        work(package, settings, Path(tokens), Path(out))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for package in MADE:
        parser.add_argument(f"--{package}", default="", help=f"PYTHONPATH that has {package}")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/others.csv")
    args = parser.parse_args()
    import polars as pl

    args.folder = args.folder.resolve()
    args.folder.mkdir(parents=True, exist_ok=True)
    own = made(args)
    rows = []
    for name, result in evaluated(args.folder, list(own)).items():
        found = next(row["value"] for row in result["rows"] if row["metric"] == "perplexity")
        theirs = result["cell"]["theirs"]
        bits = 8 * theirs["quantized_bytes"] / theirs["n_weights"]
        rows.append(
            {
                "checkpoint": name,
                "ppl by its maker": own[name],
                "ppl here": found,
                "difference %": 100 * (found / own[name] - 1),
                "bits per weight": bits,
                "told": theirs["told"],
            }
        )
    table = pl.DataFrame(rows)
    table.write_csv(args.out, float_precision=5)
    with pl.Config(tbl_cols=-1, tbl_width_chars=220, float_precision=5, fmt_str_lengths=100):
        print(table)


if __name__ == "__main__":
    main()
