"""A folder in which the workflow runs on a model of random weights, as a user would run it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from quantizing.shapes import SHAPES, make_model

REPOSITORY = Path(__file__).parents[2]
COPIED = ("Snakefile", "workflow", "profiles", "envs", "src")
VOCABULARY = 8192
METHODS: dict[str, dict[str, Any]] = {
    "gptq": {"rounding": "gptq"},
    "awq": {"transform": "salience", "range": "search"},
    "quip": {"transform": "incoherence", "range": "rms", "rounding": "ldlq"},
    "magr+gptq": {"transform": "magr", "rounding": "gptq"},
}


def make_workspace(folder: Path, shape: str, layers: int, device: str, words: int) -> None:
    """The workflow's files, ``model`` and a text of so many words."""
    for name in COPIED:
        source = REPOSITORY / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / name)
    write_model(folder / "model", shape, layers, device)
    write_text(folder / "text.txt", words)


def write_model(folder: Path, shape: str, layers: int, device: str | None) -> None:
    """Random weights (without a device: none), and a tokenizer with a word for each token."""
    make_model(folder, SHAPES[shape][1], layers, None if device is None else torch.device(device))
    words = Tokenizer(WordLevel({f"t{i}": i for i in range(VOCABULARY)}, unk_token="t0"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="t0", eos_token="t1").save_pretrained(folder)


def write_text(file: Path, words: int) -> None:
    """Random words."""
    chosen = random.Random(0)
    file.write_text(" ".join(f"t{chosen.randrange(2, VOCABULARY)}" for _ in range(words)), encoding="utf-8")


def configure(folder: Path, methods: list[str], samples: int, length: int, group_size: int, **more: Any) -> None:
    """One model, one scheme of 4 bits, and one suite."""
    config = {
        "models": {"model": {"path": "model"}},
        "calibration": {"text": {"corpus": "text.txt", "samples": samples, "sequence_length": length}},
        "schemes": {"w4": {"bits": 4, "group_size": group_size}},
        "methods": {name: METHODS[name] for name in methods},
        "suites": {
            "perplexity": {"kind": "perplexity", "corpora": {"text": "text.txt"}, "window": length, "limit": 32}
        },
        "grid": [{"models": ["model"], "methods": methods, "schemes": ["w4"], "suites": ["perplexity"]}],
        "backend": "transformers",
        **more,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def snakemake(folder: Path, target: str, gpus: list[str], jobs: int = 1) -> float:
    """Seconds that Snakemake takes to make the target on these GPUs; its output is shown where it fails."""
    command = [sys.executable, "-m", "snakemake", target, "--cores", str(os.cpu_count()), "--resources", f"gpu={jobs}"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "CUDA_VISIBLE_DEVICES": ",".join(gpus)}
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}\n{' '.join(command)} failed")
    return time.perf_counter() - begun
