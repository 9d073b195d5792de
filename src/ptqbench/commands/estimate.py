"""What a plan takes before it runs: time, memory and disk of what is not made yet, by rule.

From the headers of a model's files, and from what such jobs took on this machine before; a plan that does not fit the
disk, or a job that does not fit the memory, is said, with what would fit.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ptqbench.commands.init import choose

EXAMPLES = """examples:
  ptqbench estimate
  ptqbench estimate --configfile workflow/presets/strategies.yaml
  ptqbench estimate /data/my-model --bits 4 3 2 --methods gptq autoround
"""


def declare(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "model", nargs="?", metavar="PATH", help="a folder with safetensors, as `ptqbench run` takes it"
    )
    parser.add_argument(
        "--configfile", type=Path, nargs="+", default=[Path("config.yaml")], metavar="FILE",
        help="where no model is named: the config of the plan, the last file on top; config.yaml here by default",
    )  # fmt: skip
    choose(parser)


def lines(args: argparse.Namespace) -> Iterator[str]:
    """What it prints."""
    import yaml

    from ptqbench.config_files import check_file, merge
    from ptqbench.drafts import Draft, text_of

    if args.model:
        draft = Draft(bits=tuple(dict.fromkeys(args.bits)), methods=tuple(dict.fromkeys(args.methods)))
        draft.add(args.model)
        yield from told(yaml.safe_load(text_of(draft, "")))
        return
    config: dict[str, Any] = {}
    for file in args.configfile:
        check_file(file)
        merge(config, yaml.safe_load(file.read_text(encoding="utf-8")))
    yield from told(config)


def told(config: dict[str, Any], folder: Path = Path(".")) -> Iterator[str]:
    """A table of what a plan still takes on this machine, for results in ``folder``."""
    from ptqbench.estimates import fits, rates
    from ptqbench.estimates.jobs import jobs, left, sizes
    from ptqbench.evaluation import runtime
    from ptqbench.place import home
    from ptqbench.plan import Plan

    runtime.settle(config, home())
    plan, here = Plan(config, workflow=home()), fits.machine(folder)
    known = sizes(plan)
    for model in dict.fromkeys(cell.model for cell in plan.cells if cell.model not in known):
        yield f"take    {model} is not here yet: what it takes is known after its download"
    waiting = left(jobs(plan, folder / "results", here.host, known))
    if not waiting:
        yield "takes   nothing: all is made, unless code or settings have changed since"
        return
    took = rates.read(rates.file())
    times = fits.seconds(waiting, here, took)
    yield fits.line(waiting, times, here, bool(took))
    yield from (f"        {line}" for line in fits.table(waiting, times))
    fits.check(waiting, here)
