"""What a run would take: time, memory and disk by rule, from the headers of a model's files.

A first form, good to a factor of two or three: operations of each rule over what such a machine does of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ptqbench.commands.init import choose

if TYPE_CHECKING:
    from ptqbench.drafts import Draft

EXAMPLES = """examples:
  ptqbench estimate /data/my-model
  ptqbench estimate /data/my-model --bits 4 3 2 --methods gptq autoround
"""


def declare(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("model", metavar="PATH", help="a folder with config.json and safetensors")
    choose(parser)


def lines(args: argparse.Namespace) -> Iterator[str]:
    """What it prints."""
    from ptqbench.drafts import Draft

    draft = Draft(bits=tuple(dict.fromkeys(args.bits)), methods=tuple(dict.fromkeys(args.methods)))
    draft.add(args.model)
    yield from told(draft)


def told(draft: Draft) -> Iterator[str]:
    """A table of a draft's rules, for this machine."""
    import os
    from pathlib import Path

    from ptqbench.devices import visible_gpus
    from ptqbench.drafts import chosen
    from ptqbench.estimates import CPU, GPU, at_once, needs, size_of
    from ptqbench.recipe import normalize
    from ptqbench.words import columns, duration, size

    recipes = [normalize(name, method) for name, method in chosen(draft.methods).items()]
    gpus, cores = len(visible_gpus()), os.cpu_count() or 1
    where = f"{gpus} GPU{'s' if gpus > 1 else ''}" if gpus else f"{cores} core{'s' if cores > 1 else ''}"
    for name, entry in draft.models.items():
        if "path" not in entry:
            yield f"take    {name} is not here yet: what it takes is known after its download"
            continue
        measured = size_of(Path(entry["path"]), f"'{entry['path']}'")
        device = GPU if gpus else CPU * cores / 2
        found = needs(measured, recipes, draft.bits, draft.group, draft.sequence * 128, device)
        total = sum(need.jobs * need.seconds for need in found) / at_once(gpus)
        disk = sum(need.jobs * need.disk for need in found)
        yield f"takes   about {duration(total)} on {where}, {size(disk)} of disk (good to a factor of two or three):"
        rows = [("rule", "jobs", "time of one", "memory", "disk of one")]
        rows += [(n.rule, str(n.jobs), duration(n.seconds), size(n.memory), size(n.disk)) for n in found]
        yield from (f"        {line}" for line in columns(rows))
