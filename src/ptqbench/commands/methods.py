"""Members that methods are composed of, with their parameters, and the methods of the config that comes along."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

EXAMPLES = """examples:
  ptqbench methods
  ptqbench run /data/my-model --methods gptq quarot+gptq autoround

a member and its parameters in a config: {rounding: {gptq: {damp: 0.1}}}
"""


def declare(parser: argparse.ArgumentParser) -> None:
    """Its arguments: none."""


def lines(args: argparse.Namespace) -> Iterator[str]:
    """What it prints."""
    from ptqbench.drafts import flow, known_methods
    from ptqbench.members import FOLDERS, members
    from ptqbench.normalize import normalize
    from ptqbench.words import columns

    rows = [("stage", "member", "strategy", "parameters and their defaults")]
    for stage, folder in FOLDERS.items():
        for name, traits in members(folder).items():
            rows.append((stage, name.replace("_", ": "), traits.get("STRATEGY") or "-", parameters(traits)))
    yield from columns(rows)
    yield ""
    composed = [("method", "strategies", "composition")]
    for name, method in known_methods().items():
        classes = " + ".join(normalize(name, method).strategy) or "-"
        composed.append((name, classes, flow(method)))
    yield from columns(composed)


def parameters(traits: dict[str, Any]) -> str:
    """``damp 0.01, act_order True``."""
    return ", ".join(f"{name} {value}" for name, value in traits.get("DEFAULTS", {}).items())
