"""What to deploy (``recommend``), where two reports differ (``compare``), and hub models by commit (``pin``)."""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl

from ptqbench.errors import UserError, user_facing
from ptqbench.pin import pinned
from ptqbench.reporting.answer import answer
from ptqbench.reporting.compare import differences, told
from ptqbench.reporting.recommend import (
    PREFERENCES,
    Constraints,
    candidates,
    chosen_scores,
    parse_bytes,
    parse_share,
    recommend,
)
from ptqbench.spec import FLOAT_METHOD


@user_facing
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ptqbench", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("recommend", help="the cell to deploy under constraints")
    command.add_argument("--memory", type=str, help="bytes that the weights may take, such as 24GB")
    command.add_argument("--max-drop", type=str, help="share of the float model's quality that may go, such as 1%%")
    command.add_argument("--task", action="append", default=[], help="corpus or suite that counts; all by default")
    command.add_argument("--tokens-per-second", type=float, help="generation speed for one user, at least")
    command.add_argument("--model", help="only cells of this model")
    command.add_argument("--prefer", choices=PREFERENCES, default="quality", help="what the best cell is best at")
    command.add_argument("--report", type=Path, default=Path("reports"), help="folder of the report")
    command.set_defaults(lines=recommended)
    command = commands.add_parser("compare", help="scores that differ between two reports of the same cells")
    command.add_argument("report", type=Path, help="folder of a report")
    command.add_argument("other", type=Path, help="folder of another")
    command.add_argument("--beyond", type=float, default=3.0, help="standard errors from which a score is listed")
    command.add_argument("--most", type=int, default=20, help="scores to list at most")
    command.set_defaults(lines=compared)
    command = commands.add_parser("pin", help="lines of a config that name hub models by their present commits")
    command.add_argument("models", nargs="+", metavar="NAME=HUB_ID", help="or a data set: ptb")
    command.set_defaults(lines=lambda args: pinned(args.models))
    args = parser.parse_args(argv)
    print("\n".join(args.lines(args)))


def compared(args: argparse.Namespace) -> list[str]:
    """The lines to print."""
    before, after = (read(folder / "results.parquet") for folder in (args.report, args.other))
    return told(differences(before, after), args.beyond, args.most)


def recommended(args: argparse.Namespace) -> list[str]:
    """The lines to print."""
    tables = {name: read(args.report / f"{name}.parquet") for name in ("cells", "scores", "results", "pairs")}
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
    lines = answer(found, constraints)
    small = chosen.filter(pl.col("method") == FLOAT_METHOD, pl.col("served_bytes") <= (constraints.memory or 0))
    return lines + [
        f"note    the unquantized {model} fits into that memory, and loses nothing" for model in small["model"]
    ]


def read(file: Path) -> pl.DataFrame:
    """A table of the report."""
    if not file.is_file():
        raise UserError(f"there is no {file}: run snakemake first, or name the report's folder (--report)")
    return pl.read_parquet(file)


if __name__ == "__main__":
    main()
