"""Scores that differ between two reports of the same cells."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """examples:
  ptqbench compare reports /elsewhere/reports
  ptqbench compare reports /elsewhere/reports --beyond 2 --most 100
"""


def declare(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("report", type=Path, help="folder of a report")
    parser.add_argument("other", type=Path, help="folder of another")
    parser.add_argument("--beyond", type=float, default=3.0, help="standard errors from which a score is listed")
    parser.add_argument("--most", type=int, default=20, help="scores to list at most")


def lines(args: argparse.Namespace) -> list[str]:
    """What it prints."""
    from ptqbench.reporting.compare import differences, told
    from ptqbench.reporting.folder import read

    before, after = (read(folder, "results") for folder in (args.report, args.other))
    return told(differences(before, after), args.beyond, args.most)
