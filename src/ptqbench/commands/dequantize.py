"""Make a model folder of a GGUF file."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

EXAMPLES = """examples:
  ptqbench dequantize SmolLM2-135M-Instruct.Q4_1.gguf models/smollm2
"""
DTYPES = ("bfloat16", "float16", "float32")


def declare(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("file", type=Path, help="a GGUF file")
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--dtype", default="bfloat16", choices=DTYPES, help="of the weights, rounded to it")


def lines(args: argparse.Namespace) -> Iterator[str]:
    """What it prints."""
    import torch

    from ptqbench.gguf import dequantize

    kinds = dequantize(args.file, args.folder, getattr(torch, args.dtype))
    listed = ", ".join(f"{count} of {name}" for name, count in sorted(kinds.items()))
    yield f"{args.folder}: {sum(kinds.values())} tensors, which were {listed}, as {args.dtype}"
