"""Files that come from outside, read within limits of kind, size and depth: each problem is one line for the user."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptqbench.errors import UserError

OBJECT_BYTES = 64 << 20  # an index of a mixture with ten thousand experts has 5 MiB
DEPTH = 32  # levels of nesting; transformers' own configs have six
SHOWN = 60  # characters of a value in a message
SAID = 120  # of what a library says


def shown(value: Any) -> str:
    """A value in a message: on one line, and not longer than a line."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def check_file(file: Path, where: str) -> os.stat_result:
    """What ``stat`` says of a regular file; a folder, pipe, device or a link to nothing under its name is refused."""
    try:
        found = file.stat()
    except FileNotFoundError:
        if file.is_symlink():
            raise UserError(
                f"{where}: {file} is a link to {shown(os.readlink(file))}, which is gone: fetch the file again"
            ) from None
        raise UserError(f"{where}: there is no file {file}: fetch it again") from None
    except OSError as error:
        raise UserError(f"{where}: {file} cannot be read ({error.strerror}): correct that") from None
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or device"
        raise UserError(f"{where}: {file} is {kind}, where a file is meant: remove it, or fetch the file again")
    if not os.access(file, os.R_OK):
        raise UserError(f"{where}: {file} cannot be read (permission denied): correct its mode")
    return found


def listing(folder: Path, where: str) -> list[str]:
    """The names in a folder.

    Raises :class:`UserError` for one that cannot be read.
    """
    try:
        return os.listdir(folder)
    except OSError as error:
        raise UserError(f"{where}: the folder {folder} cannot be read ({error.strerror}): correct that") from None


def read_object(file: Path, where: str, limit: int = OBJECT_BYTES) -> dict[str, Any]:
    """The JSON object in a file of at most ``limit`` bytes.

    Raises :class:`UserError` for a larger one, and as :func:`parse_object` does.
    """
    size = check_file(file, where).st_size
    if size > limit:
        raise UserError(f"{where}: {file} has {size} bytes, and at most {limit} are read: fetch it again")
    return parse_object(file.read_bytes(), f"{where}: {file}")


def parse_object(content: bytes, what: str) -> dict[str, Any]:
    """``content`` as one JSON object without keys that come twice; ``what`` begins the messages.

    Raises :class:`UserError` for anything else.
    """
    try:
        found = json.loads(content.decode("utf-8"), object_pairs_hook=_object)
    except _Twice as error:
        raise UserError(f"{what} is ambiguous: its key {shown(error.args[0])} comes twice: remove one") from None
    except UnicodeDecodeError:
        raise UserError(f"{what} is not JSON (no UTF-8): fetch it again") from None
    except RecursionError:
        raise UserError(f"{what} is nested deeper than {DEPTH} levels: fetch it again") from None
    except ValueError as error:
        raise UserError(f"{what} is not JSON ({str(error).splitlines()[0][:SHOWN]}): fetch it again") from None
    if not isinstance(found, dict):
        raise UserError(f"{what} is {shown(found)}, where a JSON object is meant: fetch it again")
    level: list[Any] = [found]
    for _ in range(DEPTH):
        level = [inner for value in level for inner in _inside(value)]
    if level:
        raise UserError(f"{what} is nested deeper than {DEPTH} levels: fetch it again")
    return found


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """Whatever a library raises inside is about the file that it reads: ``what`` says which, in one line.

    Libraries in Rust panic with an exception that is no :class:`Exception`.
    """
    try:
        yield
    except (UserError, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        said = " ".join(str(error).split()) or "no reason is given"
        said = said if len(said) <= SAID else f"{said[: SAID - 1]}…"
        raise UserError(f"{what} ({type(error).__name__}: {said}): correct it, or fetch the model again") from error


class _Twice(ValueError):
    """A key that comes twice in an object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for index, name in enumerate(names) if name in names[:index]))
    return found


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [inner for inner in value.values() if isinstance(inner, dict | list)]
    return [inner for inner in value if isinstance(inner, dict | list)]
