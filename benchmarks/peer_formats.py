"""llm-compressor's formats beside ours: the same model, calibration tokens, windows and evaluation.

    PYTHONPATH=src python benchmarks/peer_formats.py FOLDER --peer-path PEERS    after the preset `floats` in FOLDER

PEERS is the PYTHONPATH that has llm-compressor. It quantizes the prepared model on the stored calibration tokens, with
weights alone, nearest and by GPTQ (its defaults), in a process of its own; its checkpoint is read and evaluated by what
evaluates ours. Writes benchmarks/results/peer-formats.csv: perplexity, and KL to the float model with the standard
error of the difference, paired over windows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

FORMATS = {"nvfp4": "NVFP4A16", "mxfp4": "MXFP4A16", "fp8": "FP8_DYNAMIC"}
ROUNDINGS = {"nearest": "rtn", "gptq": "gptq"}  # and the preset's methods


def make(model: Path, tokens: Path, number: str, rounding: str, out: Path) -> None:
    """What the peer's process does."""
    import torch
    from compressed_tensors.quantization import QuantizationScheme, preset_name_to_scheme
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows = json.loads(tokens.read_text())
    whole: QuantizationScheme = preset_name_to_scheme(FORMATS[number], ["Linear"])
    whole.input_activations = None
    modifier = GPTQModifier if rounding == "gptq" else QuantizationModifier
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    oneshot(
        model=loaded,
        dataset=Dataset.from_dict({"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows]}),
        recipe=[modifier(config_groups={"all": whole}, ignore=["lm_head"])],
        tokenizer=AutoTokenizer.from_pretrained(model),
        max_seq_length=len(rows[0]),
        num_calibration_samples=len(rows),
    )
    loaded.save_pretrained(out, save_compressed=True)
    AutoTokenizer.from_pretrained(model).save_pretrained(out)


def quantized(args: argparse.Namespace, model: Path, tokens: Path, number: str, rounding: str, out: Path) -> None:
    """Run :func:`make` where the peer is; its words are shown where it fails."""
    command = [args.peer_python, __file__, "--make", str(model), str(tokens), number, rounding, str(out)]
    env = {**os.environ, "PYTHONPATH": args.peer_path}
    done = subprocess.run(command, env=env, cwd=out.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout[-2000:]}{done.stderr[-2000:]}")


def evaluated(folder: Path, results: Path, name: str) -> dict[str, dict[str, Any]]:
    """A checkpoint folder by the suites that evaluated our cells: rows by metric."""
    from ptqbench.evaluation import fidelity, perplexity
    from ptqbench.evaluation.backends import transformers
    from ptqbench.evaluation.backends.text import Setup, Text

    suites = {
        suite: json.loads((results / f"eval/{name}/wikitext2/rtn/nvfp4/{suite}.json").read_text())["spec"]["suite"]
        for suite in ("perplexity", "fidelity")
    }
    model = (results.parent / "resources/models" / name).resolve()
    text = Text(folder, False)
    setup = Setup("transformers", "cpu", False, 512, False, (), None, results.parent / "peer.log", 1, 0)
    with transformers.opened(text, setup) as opened:
        rows = perplexity.run(opened, suites["perplexity"])
        stored = fidelity.reference(results / f"reference/{name}/fidelity", model, False, "cpu")
        rows += fidelity.run(opened, suites["fidelity"], stored)
    return {row["metric"]: row for row in rows}


def ours(results: Path, name: str, number: str, method: str) -> dict[str, dict[str, Any]]:
    """The rows of a cell by metric."""
    cell = results / f"eval/{name}/wikitext2/{method}/{number}"
    files = [json.loads((cell / f"{suite}.json").read_text()) for suite in ("perplexity", "fidelity")]
    return {row["metric"]: row for file in files for row in file["rows"]}


def compared(results: Path, args: argparse.Namespace, name: str) -> Iterator[dict[str, Any]]:
    """A row for each format and rounding."""
    import polars as pl

    stored = pl.read_parquet(results / f"calibration/{name}/wikitext2/tokens.parquet")
    with tempfile.TemporaryDirectory() as temporary:
        tokens = Path(temporary) / "tokens.json"
        tokens.write_text(json.dumps(stored["tokens"].to_list()))
        model = (args.folder / "resources/models" / name).resolve()
        for number in FORMATS:
            for rounding, method in ROUNDINGS.items():
                out = Path(temporary) / f"{number}-{rounding}"
                quantized(args, model, tokens, number, rounding, out)
                theirs, own = evaluated(out, results, name), ours(results, name, number, method)
                gap = [a - b for a, b in zip(own["kl"]["items"], theirs["kl"]["items"], strict=True)]
                yield {
                    "number": number,
                    "rounding": rounding,
                    "ppl": own["perplexity"]["value"],
                    "ppl peer": theirs["perplexity"]["value"],
                    "kl": own["kl"]["value"],
                    "kl peer": theirs["kl"]["value"],
                    "kl difference": mean(gap),
                    "stderr": stdev(gap) / len(gap) ** 0.5,
                }


def main() -> None:
    if sys.argv[1:2] == ["--make"]:
        model, tokens, number, rounding, out = sys.argv[2:]
        make(Path(model), Path(tokens), number, rounding, Path(out))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="pocket-llama")
    parser.add_argument("--peer-path", default="", help="PYTHONPATH that has llm-compressor")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/peer-formats.csv"))
    args = parser.parse_args()
    import polars as pl

    out = args.out.resolve()
    os.environ["PYTHONPATH"] = args.peer_path
    table = pl.DataFrame([*compared(args.folder.resolve() / "results", args, args.model)])
    table.write_csv(out, float_precision=5)
    with pl.Config(tbl_cols=-1, tbl_width_chars=160, float_precision=4):
        print(table)


if __name__ == "__main__":
    main()
