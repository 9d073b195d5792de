"""Model families that are described, and the models that come with a checkout."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

EXAMPLES = """examples:
  ptqbench models
  ptqbench describe resources/models/pocket-llama      one model, linear by linear
"""


def declare(parser: argparse.ArgumentParser) -> None:
    """Its arguments: none."""


def lines(args: argparse.Namespace) -> Iterator[str]:
    """What it prints."""
    from ptqbench.members import members
    from ptqbench.place import home
    from ptqbench.words import columns

    rows = [("family", "structure", "model_type in config.json")]
    rows += [(name, of["STRUCTURE"], ", ".join(of["MODEL_TYPES"])) for name, of in members("models/adapters").items()]
    yield from columns(rows)
    folders = sorted(file.parent for file in (home() / "resources/models").glob("*/config.json"))
    if folders:
        yield from ["", "small models to try things on, with their cards:", *(f"  {folder}" for folder in folders)]
