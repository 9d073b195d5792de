"""The cell to deploy under constraints."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """examples:
  ptqbench recommend --memory 24GB --max-drop 1%
  ptqbench recommend --max-drop 5% --task wikitext2 --prefer size --model pocket-llama
"""


def declare(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    constrain(parser)
    parser.add_argument("--task", action="append", default=[], help="corpus or suite that counts; all by default")
    parser.add_argument("--tokens-per-second", type=float, help="generation speed for one user, at least")
    parser.add_argument("--model", help="only cells of this model")
    preferences = ("quality", "size", "speed")
    parser.add_argument("--prefer", choices=preferences, default="quality", help="what the best cell is best at")
    parser.add_argument("--report", type=Path, default=Path("reports"), help="folder of the report")


def constrain(parser: argparse.ArgumentParser) -> None:
    """What has to hold, as `run` asks for it too."""
    parser.add_argument("--memory", help="bytes that the weights may take, such as 24GB")
    parser.add_argument("--max-drop", help="share of the float model's quality that may go, such as 1%%")


def lines(args: argparse.Namespace) -> list[str]:
    """What it prints."""
    import polars as pl

    from ptqbench.errors import UserError
    from ptqbench.reporting.answer import answer
    from ptqbench.reporting.folder import read
    from ptqbench.reporting.recommend import (
        Constraints,
        candidates,
        chosen_scores,
        parse_bytes,
        parse_share,
        recommend,
    )
    from ptqbench.spec import FLOAT_METHOD

    tables = {name: read(args.report, name) for name in ("cells", "scores", "results", "pairs")}
    cells = tables["cells"]
    if args.model and args.model not in cells["model"]:
        raise UserError(f"--model is '{args.model}': the report has {', '.join(cells['model'].unique().sort())}")
    chosen = cells.filter(pl.col("model") == args.model) if args.model else cells
    measured = tables["scores"]["score"].unique(maintain_order=True).to_list()
    constraints = Constraints(
        scores=chosen_scores(args.task, measured),
        memory=parse_bytes(args.memory) if args.memory else None,
        max_drop=parse_share(args.max_drop) if args.max_drop else None,
        tokens_per_second=args.tokens_per_second,
        prefer=args.prefer,
        named=bool(args.task),
    )
    stderrs = {row[:3]: row[3] for row in tables["pairs"].select("score", "a", "b", "stderr").rows()}
    found = recommend(candidates(chosen, tables["scores"], tables["results"]), constraints, stderrs)
    said = answer(found, constraints)
    small = chosen.filter(pl.col("method") == FLOAT_METHOD, pl.col("served_bytes") <= (constraints.memory or 0))
    return said + [
        f"note    the unquantized {model} fits into that memory, and loses nothing" for model in small["model"]
    ]
