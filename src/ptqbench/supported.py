"""The releases of transformers that model code was tried with: the pinned one, and the newest (`make newest`)."""

from __future__ import annotations

from importlib import metadata

from ptqbench.errors import UserError

OLDEST, NEWEST = (5, 17), (5, 24)


def check_transformers(version: str | None = None) -> str | None:
    """A line to say where the installed release (or ``version``) is newer than any that was tried.

    Raises :class:`UserError` for one that is older than the pinned one.
    """
    found = version or metadata.version("transformers")
    release = tuple(int(part) for part in found.split(".")[:2])
    oldest, newest = (".".join(map(str, one)) for one in (OLDEST, NEWEST))
    if release < OLDEST:
        raise UserError(f"transformers {found} is installed, and {oldest} is the oldest that is read: upgrade it")
    if release > NEWEST:
        return f"transformers {found} is newer than {newest}, the newest that was tried (make newest tries it)"
    return None
