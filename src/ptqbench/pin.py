"""The hub's models and data sets by their present commits, which do not move."""

from __future__ import annotations

import re

from ptqbench.data.hub import BRANCHES, CORPORA, REVISIONS
from ptqbench.errors import UserError, reaching

NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"  # as the schema has it


def pinned(asked: list[str]) -> list[str]:
    """YAML lines of ``models`` for ``NAME=HUB_ID`` (or ``HUB_ID``, named by its last part).

    The name of a data set that suites and calibration sets read gives a line of ``revisions``.
    """
    sets = [name for name in asked if name in REVISIONS]
    lines = [f"  {name}: {data_commit(name)}" for name in sets]
    return [*pinned_models([text for text in asked if text not in sets]), *(["revisions:", *lines] if lines else [])]


def pinned_models(asked: list[str]) -> list[str]:
    """The lines of models; none where none is asked for.

    Raises :class:`UserError` for a line that is no ``NAME=HUB_ID``.
    """
    pairs = [text.rpartition("=")[::2] for text in asked]
    named = [(name or hub.rpartition("/")[2].lower(), hub) for name, hub in pairs]
    for (name, _), text in zip(named, asked, strict=True):
        if not re.fullmatch(NAME, name):
            raise UserError(f"{text!r} is none of NAME=HUB_ID: write a name of letters, digits, '.', '_', '+' and '-'")
    return [
        *(["models:"] if named else []),
        *(f"  {name}: {{hub: {hub}, revision: {commit(hub)}}}" for name, hub in named),
    ]


def commit(hub: str) -> str:
    """The 40 hex digits of a model's newest commit. Raises :class:`UserError` where the hub does not answer."""
    from huggingface_hub import HfApi

    with reaching(f"cannot ask the hub for {hub!r}"):
        return str(HfApi().model_info(hub).sha)


def data_commit(name: str) -> str:
    """The newest commit of a data set's branch that is read."""
    from huggingface_hub import HfApi

    from ptqbench.data.hub_images import QUESTIONS

    dataset = CORPORA[name].dataset if name in CORPORA else QUESTIONS[name].dataset
    with reaching(f"cannot ask the hub for {dataset!r}"):
        return str(HfApi().dataset_info(dataset, revision=BRANCHES.get(name)).sha)
