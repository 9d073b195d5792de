"""Errors that a user can act on: one line that names the key, the value and the remedy."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import wraps


class UserError(Exception):
    """A mistake in the input or the environment, not in the code; shown without a traceback."""


class DamagedArtifact(UserError):
    """A file that does not match its manifest."""


@contextmanager
def about(subject: str) -> Iterator[None]:
    """Name the key and value in a :class:`UserError` raised by code that does not know them."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"{subject}: {error}") from None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The remedy for an unknown word: ``": did you mean 'x'?"`` for a near match, otherwise what there is to choose."""
    names = sorted(known)
    if near := get_close_matches(word, names, n=1):
        return f": did you mean '{near[0]}'?"
    return f": choose from {', '.join(names)}" if names else ": remove it"


def user_facing(main: Callable[..., None]) -> Callable[..., None]:
    """Run a stage's main: a :class:`UserError` becomes one line on stderr and exit status 1."""

    @wraps(main)
    def run(argv: list[str] | None = None) -> None:
        try:
            return main(argv)
        except UserError as error:
            line = f"error: {error}"
        gc.collect()  # what the error held (progress bars) says its last before the line, not after it
        sys.exit(line)

    return run
