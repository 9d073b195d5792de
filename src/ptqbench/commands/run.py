"""Measure a model and say which quantization to deploy: one command, in a folder of its own.

It writes a config into the folder, says what the run will take, runs Snakemake there, and prints the answer and where
the page is. The same command goes on after an interruption, and makes only what is missing after a change.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from ptqbench.commands.init import choose
from ptqbench.commands.recommend import constrain

EXAMPLES = """examples:
  ptqbench run /data/my-model
  ptqbench run meta-llama/Llama-2-7b-hf --bits 4 3 --memory 6GB --max-drop 2%
  ptqbench run /data/my-model --methods gptq awq autoround --folder /scratch/mine -n
"""


def declare(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("model", metavar="PATH_OR_HUB_ID", help="a folder with safetensors, or OWNER/NAME on the hub")
    choose(parser)
    constrain(parser)
    parser.add_argument("--folder", type=Path, help="where config, results and report go; ptqbench-NAME by default")
    parser.add_argument("--cores", default="all", help="cores to use; all by default")
    parser.add_argument("-n", "--dry-run", action="store_true", help="say what would run and why, and stop")


def lines(args: argparse.Namespace) -> Iterator[str]:
    """What it prints."""
    import yaml

    from ptqbench import engine
    from ptqbench.commands import recommend
    from ptqbench.commands.estimate import told
    from ptqbench.drafts import Draft, text_of
    from ptqbench.errors import UserError
    from ptqbench.reporting.recommend import parse_bytes, parse_share

    for check, given in ((parse_bytes, args.memory), (parse_share, args.max_drop)):
        if given is not None:
            check(given)
    draft = Draft(bits=tuple(dict.fromkeys(args.bits)), methods=tuple(dict.fromkeys(args.methods)))
    name = draft.add(args.model)
    folder = args.folder or Path(f"ptqbench-{name}")
    written = shlex.join(["ptqbench", *sys.argv[1:]])
    yield f"config  {write(folder, text_of(draft, f'Written by `{written}`.'))}"
    yield from told(yaml.safe_load(text_of(draft, "")), folder)
    given = engine.arguments(folder, args.cores, args.dry_run)
    yield f"$ {engine.shown(given)}"
    if status := engine.run(given, folder):
        how = "did not finish, as told above" if status > 0 else f"was ended by signal {-status}"
        raise UserError(f"Snakemake {how}: the same command goes on from there")
    if args.dry_run:
        return
    asked = {"memory": args.memory, "max_drop": args.max_drop, "task": [], "tokens_per_second": None}
    asked |= {"method": None, "bits": None, "climb": True, "prefer": "size"}  # what the page says first
    report = folder.resolve() / "reports"
    yield ""
    yield from recommend.lines(argparse.Namespace(**asked, model=name, report=report))
    yield f"page    {report / 'index.html'}"
    yield f"folder  {folder.resolve()}, to which paths are relative"


def write(folder: Path, text: str) -> Path:
    """The folder's config; one that somebody edited is not replaced. The first line is about who wrote it.

    Raises :class:`UserError` for such a one.
    """
    import hashlib

    from ptqbench.errors import UserError

    file = folder / "config.yaml"
    mark = "# unedited: "

    def digest(content: str) -> str:
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    if file.is_file():
        before, _, last = file.read_text(encoding="utf-8").rpartition(mark)
        if last.strip() != digest(before):
            raise UserError(f"{file} was edited: run snakemake in '{folder}', or give another --folder")
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}{mark}{digest(text)}\n", encoding="utf-8")
    return file
