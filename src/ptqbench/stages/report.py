"""The tables and the page, from the results and the diagnoses of the plan, and nothing else."""

from __future__ import annotations

from pathlib import Path

from ptqbench.atomic import write_text
from ptqbench.errors import user_facing
from ptqbench.locks import claim
from ptqbench.records import Planned
from ptqbench.reporting.diagnosis import addresses, read_diagnoses
from ptqbench.reporting.diagnosis_page import comparison
from ptqbench.reporting.diagnosis_page import page as diagnosis_page
from ptqbench.reporting.names import COMPARISON, DIAGNOSIS
from ptqbench.reporting.provenance import provenance
from ptqbench.reporting.results import cells_table, items_table, layers_table, read_results, results_table
from ptqbench.reporting.written import compared, write_report
from ptqbench.sealed import read
from ptqbench.stages.common import parser


@user_facing
def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--plan", type=Path, required=True, help="JSON: the cells and evaluations to report")
    arguments.add_argument("--results", type=Path, required=True, help="the folder that holds the artifacts")
    args = arguments.parse_args(argv)
    claim(args.out)
    plan = read(args.plan, Planned)
    evaluated = read_results(plan["evaluations"], args.results)
    tables = {
        "results": results_table(evaluated),
        "cells": cells_table(plan["cells"], evaluated, args.results),
        "layers": layers_table(evaluated),
        "items": items_table(evaluated),
    }
    diagnoses = read_diagnoses(plan["diagnosed"], args.results)
    for one in diagnoses:
        write_text(args.out.parent / DIAGNOSIS / one.page, diagnosis_page(one))
    if diagnoses:
        write_text(args.out.parent / DIAGNOSIS / COMPARISON, comparison(diagnoses))
    origins = provenance(plan["cells"], evaluated)
    write_report({**tables, **compared(tables)}, origins, addresses(diagnoses), args.out)


if __name__ == "__main__":
    main()
