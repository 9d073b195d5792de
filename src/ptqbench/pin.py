"""The hub's models by their present commits, which do not move."""

from __future__ import annotations

import re

from ptqbench.errors import UserError, reaching

NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"  # as the schema has it


def pinned(asked: list[str]) -> list[str]:
    """YAML lines of ``models`` for ``NAME=HUB_ID`` (or ``HUB_ID``, named by its last part)."""
    pairs = [text.rpartition("=")[::2] for text in asked]
    named = [(name or hub.rpartition("/")[2].lower(), hub) for name, hub in pairs]
    for (name, _), text in zip(named, asked, strict=True):
        if not re.fullmatch(NAME, name):
            raise UserError(f"{text!r} is none of NAME=HUB_ID: write a name of letters, digits, '.', '_', '+' and '-'")
    return ["models:", *(f"  {name}: {{hub: {hub}, revision: {commit(hub)}}}" for name, hub in named)]


def commit(hub: str) -> str:
    """The 40 hex digits of a model's newest commit. Raises :class:`UserError` where the hub does not answer."""
    from huggingface_hub import HfApi

    with reaching(f"cannot ask the hub for {hub!r}"):
        return str(HfApi().model_info(hub).sha)
