# PYTHON_ARGCOMPLETE_OK
"""Which post-training quantization to deploy, measured: a benchmark of methods, bit-widths and models."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Any

from ptqbench.errors import user_facing

# in the order in which a newcomer wants them; each is a file of ``commands`` and imports what is heavy when it runs
VERBS = (
    "run",
    "init",
    "describe",
    "estimate",
    "recommend",
    "compare",
    "page",
    "card",
    "models",
    "methods",
    "pin",
    "dequantize",
)
EXAMPLES = """examples:
  ptqbench run /data/my-model                          measure four methods at 4 bits, and say which to deploy
  ptqbench run /data/my-model --bits 4 3 -n            what that would do, and why
  ptqbench init /data/my-model > config.yaml           a config to edit; then: snakemake --cores all
  ptqbench recommend --memory 24GB --max-drop 1%       ask a report

completion in bash and zsh: eval "$(register-python-argcomplete ptqbench)"
"""


@user_facing
def main(argv: list[str] | None = None) -> None:
    made = parser()
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(made)
    args = made.parse_args(argv)
    try:
        for line in args.lines(args):
            print(line, flush=True)
    except BrokenPipeError:  # `| head` has seen enough; what Python still flushes goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser() -> argparse.ArgumentParser:
    """The command line: what each verb's file declares."""
    shape: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    made = argparse.ArgumentParser(prog="ptqbench", description=__doc__, epilog=EXAMPLES, **shape)
    commands = made.add_subparsers(required=True, metavar="command")
    for verb in VERBS:
        module = importlib.import_module(f"ptqbench.commands.{verb}")
        about = (module.__doc__ or "").strip()
        command = commands.add_parser(
            verb, help=about.partition("\n")[0].rstrip("."), description=about, epilog=module.EXAMPLES, **shape
        )
        module.declare(command)
        command.set_defaults(lines=module.lines)
    return made


if __name__ == "__main__":
    main()
