"""The tables and the page, from every artifact of the plan."""

from __future__ import annotations

import json
from pathlib import Path

from ptqbench.errors import user_facing
from ptqbench.locks import claim
from ptqbench.manifest import atomic, write_text
from ptqbench.reporting.collect import cells_table, layers_table, results_table
from ptqbench.reporting.figures import size_against_quality, write_figure
from ptqbench.reporting.page import page
from ptqbench.reporting.tables import summary
from ptqbench.stages.common import parser


@user_facing
def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--plan", type=Path, required=True, help="JSON: the cells and evaluations to report")
    arguments.add_argument("--results", type=Path, required=True, help="the folder that holds the artifacts")
    args = arguments.parse_args(argv)
    claim(args.out)
    plan = json.loads(args.plan.read_text(encoding="utf-8"))
    folder = args.out.parent
    results = results_table(plan["evaluations"], args.results)
    cells = cells_table(plan["cells"], args.results)
    tables = {"results": results, "cells": cells, "layers": layers_table(plan["cells"], args.results)}
    for name, table in tables.items():
        with atomic(folder / f"{name}.parquet") as temporary:
            table.write_parquet(temporary)
    figure = size_against_quality(results, cells)
    write_figure(figure, folder / "size_against_quality")
    write_text(folder / "summary.md", summary(results, cells))
    write_text(args.out, page(results, cells, folder / "size_against_quality.svg"))


if __name__ == "__main__":
    main()
