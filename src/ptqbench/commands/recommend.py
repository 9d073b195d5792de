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
    parser.add_argument("--model", help="only this model; without it each is answered by itself")
    parser.add_argument("--method", help="only cells of this method, beside the unquantized model")
    parser.add_argument("--bits", help="only cells of this bit-width (or 'mixed'), beside the unquantized model")
    preferences = ("quality", "size", "speed")
    parser.add_argument("--prefer", choices=preferences, default="quality", help="what the best cell is best at")
    parser.add_argument("--report", type=Path, default=Path("reports"), help="folder of the report")
    parser.set_defaults(climb=False)  # `run` goes through the page's limits where none is given


def constrain(parser: argparse.ArgumentParser) -> None:
    """What has to hold, as `run` asks for it too."""
    parser.add_argument("--memory", help="bytes that the weights may take, such as 24GB")
    parser.add_argument("--max-drop", help="share of the float model's quality that may go at most, such as 1%%")


def lines(args: argparse.Namespace) -> list[str]:
    """What it prints: an answer for each model, as no model's loss says anything of another's."""
    import polars as pl

    from ptqbench.errors import UserError
    from ptqbench.reporting.answer import answer
    from ptqbench.reporting.choice import choose, within
    from ptqbench.reporting.folder import read
    from ptqbench.reporting.over_seeds import merged
    from ptqbench.reporting.recommend import (
        Constraints,
        candidates,
        chosen_scores,
        only,
        parse_bytes,
        parse_share,
        recommend,
    )

    tables = merged({name: read(args.report, name) for name in ("cells", "scores", "results", "pairs")})
    models = tables["cells"]["model"].unique(maintain_order=True).to_list()
    if args.model and args.model not in models:
        raise UserError(f"--model is '{args.model}': the report has {', '.join(sorted(models))}")
    constraints = Constraints(
        scores=chosen_scores(args.task, tables["scores"]),
        memory=parse_bytes(args.memory) if args.memory else None,
        max_drop=parse_share(args.max_drop) if args.max_drop else None,
        tokens_per_second=args.tokens_per_second,
        prefer=args.prefer,
        named=bool(args.task),
    )
    stderrs = {row[:3]: row[3] for row in tables["pairs"].select("score", "a", "b", "stderr").rows()}
    cells = only(candidates(tables["cells"], tables["scores"], tables["results"]), args.method, args.bits)
    told: list[str] = []
    for model in [args.model] if args.model else models:
        own = tables["scores"].filter(pl.col("model") == model)
        absent = [word for word in args.task if word not in {*own["score"], *own["suite"], *own["task"]}]
        of_model = [cell for cell in cells if cell.model == model]
        held, found = constraints, recommend(of_model, constraints, stderrs)
        if args.climb:
            held, found = choose(of_model, constraints, stderrs)
        said = [f"none, because {model} was not measured on {absent[0]}"] if absent else answer(found, held)
        if args.climb and not absent:
            said.insert(0, f"within  {within(held)} lost")
        told += [*([""] if told else []), *([] if args.model or len(models) == 1 else [f"model   {model}"]), *said]
    return told
