"""The comparison of served checkpoints with their dequantized twins, from every result of the plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptqbench.atomic import atomic, write_text
from ptqbench.errors import user_facing
from ptqbench.locks import claim
from ptqbench.records import Planned
from ptqbench.reporting.agreement import absent, page, table
from ptqbench.sealed import read
from ptqbench.stages.common import parser


@user_facing
def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--plan", type=Path, required=True, help="JSON: the evaluations to compare")
    arguments.add_argument("--results", type=Path, required=True, help="the folder that holds the results")
    args = arguments.parse_args(argv)
    claim(args.out)
    plan: Any = read(args.plan, Planned)
    found = table(plan["evaluations"], args.results)
    with atomic(args.out.with_suffix(".parquet")) as temporary:
        found.write_parquet(temporary)
    write_text(args.out, page(found, absent(plan["evaluations"], args.results)))


if __name__ == "__main__":
    main()
