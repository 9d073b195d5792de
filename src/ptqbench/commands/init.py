"""A config with comments for the models that you name, to edit.

It is printed, or written with --out, which replaces nothing.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from pathlib import Path

EXAMPLES = """examples:
  ptqbench init /data/my-model > config.yaml
  ptqbench init /data/small meta-llama/Llama-2-7b-hf --bits 4 3 --methods gptq awq --out config.yaml
  ptqbench init /data/my-model --bits 4 nvfp4 mxfp4 fp8 > config.yaml
"""


def declare(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("models", nargs="+", metavar="PATH_OR_HUB_ID", help="folders, or models of the hub")
    choose(parser)
    parser.add_argument("--out", type=Path, help="file to write")


def choose(parser: argparse.ArgumentParser) -> None:
    """Which cells, as `run` and `estimate` ask for them too."""
    from ptqbench.drafts import METHODS
    from ptqbench.members import members
    from ptqbench.schemes import FOLDER

    numbers = list(members(FOLDER))
    parser.add_argument(
        "--bits", type=width, nargs="+", choices=[*range(2, 9), *numbers], default=[4], metavar="BITS",
        help=f"2 to 8, or a format of floats: {', '.join(numbers)}; 4",
    )  # fmt: skip
    parser.add_argument(
        "--methods", nargs="+", default=list(METHODS), metavar="METHOD",
        help=f"of those that `ptqbench methods` lists; {', '.join(METHODS)}",
    )  # fmt: skip


def width(text: str) -> int | str:
    """A number of bits, or a number format by its name."""
    return int(text) if text.isdigit() else text


def lines(args: argparse.Namespace) -> Iterator[str]:
    """What it prints."""
    from ptqbench.drafts import Draft, text_of
    from ptqbench.engine import arguments, shown
    from ptqbench.errors import UserError

    draft = Draft(bits=tuple(dict.fromkeys(args.bits)), methods=tuple(dict.fromkeys(args.methods)))
    for model in args.models:
        draft.add(model)
    command = shlex.join(["ptqbench", "init", *args.models])
    text = text_of(draft, f"Written by `{command}`, to edit.")
    if args.out is None:
        yield text.rstrip("\n")
        return
    if args.out.exists():
        raise UserError(f"--out is '{args.out}', which is there already: name another file, or remove it")
    args.out.write_text(text, encoding="utf-8")
    yield f"written to {args.out}; edit it, then run it there as config.yaml:"
    yield shown(arguments(args.out.parent, "all"))
