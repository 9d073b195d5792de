"""Lines of a config that name hub models by their present commits."""

from __future__ import annotations

import argparse

EXAMPLES = """examples:
  ptqbench pin meta-llama/Llama-2-7b-hf
  ptqbench pin small=Qwen/Qwen3-0.6B large=Qwen/Qwen3-8B
"""


def declare(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("models", nargs="+", metavar="NAME=HUB_ID", help="or a data set: ptb")


def lines(args: argparse.Namespace) -> list[str]:
    """What it prints."""
    from ptqbench.pin import pinned

    return pinned(args.models)
