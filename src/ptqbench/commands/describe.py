"""A model folder as this benchmark sees it: blocks, sites, and what stays in float and why."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptqbench.models.adapter import Adapter, Producer

EXAMPLES = """examples:
  ptqbench describe /data/my-model
"""


def declare(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("model", metavar="PATH", type=Path, help="a folder with config.json and safetensors")


def lines(args: argparse.Namespace) -> Iterator[str]:
    """What it prints."""
    from ptqbench.models.adapter import load_adapter
    from ptqbench.models.headers import read_config, read_headers
    from ptqbench.words import columns, size

    where = f"'{args.model}'"
    config, headers = read_config(args.model, where), read_headers(args.model, where)
    adapter = load_adapter(config, where).named_as(headers)
    shapes = {name: header.shape for name, header in headers.items()}
    total = sum(file.stat().st_size for file in {header.file for header in headers.values()})
    parameters = sum(count(shape) for shape in shapes.values())
    inside, quantized = blocks(adapter, config, shapes)
    yield f"family      {adapter.name} (model_type {config.get('model_type')})"
    yield f"parameters  {parameters:,} in {size(total)}; {sum(map(count, quantized.values())):,} are quantized"
    for first, last, rows in inside:
        numbers = f"block {first}" if first == last else f"blocks {first} to {last}"
        yield from ["", f"{numbers}, input sites in the order of computation:"]
        yield from columns([("site", "linears (outputs x inputs)", "a scale of its inputs folds into"), *rows])
    yield from ["", "in float:"]
    yield from columns([("matrix", "parameters", "why"), *floats(adapter, shapes, set(quantized))])


def count(shape: tuple[int, ...]) -> int:
    """Elements of a tensor."""
    product = 1
    for length in shape:
        product *= length
    return product


def blocks(
    adapter: Adapter, config: dict[str, Any], shapes: dict[str, tuple[int, ...]]
) -> tuple[list[tuple[int, int, list[tuple[str, str, str]]]], dict[str, tuple[int, ...]]]:
    """Runs of blocks that are alike, with a row for each site; and every linear that is quantized."""
    found: list[tuple[int, int, list[tuple[str, str, str]]]] = []
    quantized: dict[str, tuple[int, ...]] = {}
    for block in range(adapter.n_blocks(config)):
        rows = []
        for site in adapter.sites(config, block):
            own = {linear: shapes.get(f"{adapter.prefix(block)}{linear}.weight") for linear in site.linears}
            quantized |= {f"{adapter.prefix(block)}{linear}.weight": s for linear, s in own.items() if s is not None}
            named = (f"{linear} {'x'.join(map(str, shape))}" for linear, shape in own.items() if shape is not None)
            rows.append((site.name, ", ".join(named), producer(site.producer)))
        if found and found[-1][2] == rows:
            found[-1] = (found[-1][0], block, rows)
        else:
            found.append((block, block, rows))
    return found, quantized


def producer(of: Producer | None) -> str:
    """Where a scale goes."""
    if of is None:
        return "nothing: it stays with the linear"
    rows = f"rows of {of.name}" + (f" from {of.first} on" if of.first else "")
    return {"norm": f"norm {of.name}", "linear": rows, "value": f"{rows}, by head"}[of.kind]


def floats(adapter: Adapter, shapes: dict[str, tuple[int, ...]], quantized: set[str]) -> list[tuple[str, str, str]]:
    """Every matrix in no site, those of like blocks together, with its reason."""
    from ptqbench.models.adapter import reason_for_float

    sums: dict[tuple[str, str], int] = {}
    for name, shape in shapes.items():
        if len(shape) > 1 and name not in quantized:
            pattern = ".".join("*" if part.isdigit() else part for part in name.split("."))
            key = (pattern, reason_for_float(adapter, name) or "no linear of a block's sites")
            sums[key] = sums.get(key, 0) + count(shape)
    return [(pattern, f"{total:,}", why) for (pattern, why), total in sums.items()]
