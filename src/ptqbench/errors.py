"""Errors that a user can act on: one line that names the key, the value and the remedy.

What the operating system refuses (permissions, space, names, the network, memory) is the user's business too, whichever
library passes it on: Python's ``OSError``, Rust's "(os error 28)" or an error with one of these as its cause.
"""

from __future__ import annotations

import errno
import gc
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from reprlib import Repr

LONGEST = 320  # characters of a line
VALUES = Repr()
VALUES.maxlevel, VALUES.maxstring, VALUES.maxlong, VALUES.maxother = 3, 60, 40, 60
NETWORK = "check the id, your access (HF_TOKEN) and the network"
MEMORY = "give the job more, or lower what it holds at once (batch_size, samples, sequence_length, jobs side by side)"
REMEDIES = {
    errno.EACCES: "correct its owner or permissions",
    errno.EPERM: "correct its owner or permissions",
    errno.EROFS: "work in a folder that can be written",
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some of your quota there",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.ENOENT: "give a path that exists, or run snakemake again if it was removed meanwhile",
    errno.ENOTDIR: "move away the file that stands where a folder should",
    errno.EISDIR: "move away the folder that stands where a file should",
    errno.EEXIST: "move away what stands there",
    errno.ENOTEMPTY: "move away what stands there",
    errno.ELOOP: "correct the link",
    errno.ENAMETOOLONG: "use shorter names",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "raise the system's limit on open files",
    errno.EIO: "check the disk, then run again",
    errno.ESTALE: "check the file server, then run again",
    errno.ENOMEM: MEMORY,
    errno.EAGAIN: "raise the limit on processes (ulimit -u)",
}
NUMBERS: dict[type[BaseException], int] = {  # of errors that come without one
    FileNotFoundError: errno.ENOENT,
    PermissionError: errno.EACCES,
    IsADirectoryError: errno.EISDIR,
    NotADirectoryError: errno.ENOTDIR,
    FileExistsError: errno.EEXIST,
}
NETWORK_NUMBERS = (
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ETIMEDOUT,
)
# by name, since importing what raises them takes seconds; their subclasses are meant too
NETWORK_ERRORS = (
    "builtins.ConnectionError",
    "builtins.TimeoutError",
    "httpx.HTTPError",
    "huggingface_hub.errors.HFValidationError",
    "huggingface_hub.errors.HfHubHTTPError",
    "huggingface_hub.errors.LocalEntryNotFoundError",
    "requests.exceptions.RequestException",
    "socket.gaierror",
    "ssl.SSLError",
    "urllib.error.URLError",
)
MEMORY_ERRORS = ("builtins.MemoryError", "torch.OutOfMemoryError")
OUT_OF_MEMORY = re.compile(r"can't allocate memory|Cannot allocate memory|CUDA out of memory")
OS_ERROR = re.compile(r"\(os error (\d+)\)")  # as Rust writes it: safetensors, tokenizers, polars


class UserError(Exception):
    """A mistake in the input or the environment, not in the code; shown without a traceback, as one line."""

    def __init__(self, message: object) -> None:
        super().__init__(short(message))


class DamagedArtifact(UserError):
    """A file that does not match its manifest."""


@contextmanager
def about(subject: str) -> Iterator[None]:
    """Name the key and value in a :class:`UserError` raised by code that does not know them."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"{subject}: {error}") from None


@contextmanager
def writing(file: Path, temporary: Path) -> Iterator[None]:
    """Name ``file`` in what the operating system says of a write to ``temporary``, often without a path.

    Raises ``OSError`` with that name.
    """
    try:
        yield
    except Exception as error:
        number = os_number(error)
        if number is None or getattr(error, "filename", None) not in (None, str(temporary)):
            raise
        raise OSError(number, os.strerror(number), str(file)) from error


@contextmanager
def reaching(subject: str, remedy: str = NETWORK) -> Iterator[None]:
    """Name what was asked for in an error of the hub, of the network or of the files that it is kept in."""
    try:
        yield
    except Exception as error:
        if not (isinstance(error, OSError) or _names(error).intersection(NETWORK_ERRORS)):
            raise
        raise UserError(f"{subject} ({type(error).__name__}): {remedy}") from error


def shown(value: object) -> str:
    """A value of the input in a few characters."""
    text = VALUES.repr(value)
    return text if len(text) <= 80 else f"{text[:50]} … {text[-27:]}"


def word(key: object) -> str:
    """A key of the input as part of a path of keys."""
    text = str(key)
    return text if len(text) <= 64 else f"{text[:60]}…"


def did_you_mean(word: object, known: Iterable[object]) -> str:
    """The remedy for an unknown word: ``": did you mean 'x'?"`` for a near match, otherwise what there is to choose."""
    names = sorted(map(str, known))
    if near := get_close_matches(str(word)[:100], names, n=1):
        return f": did you mean '{near[0]}'?"
    return f": choose from {', '.join(names)}" if names else ": remove it"


def short(value: object, longest: int = LONGEST) -> str:
    """A text in one line; of a long one the beginning and the end, where the remedy stands."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(str(value).split()))
    return line if len(line) <= longest else f"{line[: longest // 2]} … {line[-(longest // 2 - 3) :]}"


def told(error: Exception) -> str:
    """The line for a user; raises an ``error`` that is none of a user's business, with its traceback."""
    for one in causes(error):
        if isinstance(one, UserError):
            return short(one)
        if line := _environment(one):
            return short(line)
    raise error


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and what it was explicitly raised from."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def os_number(error: BaseException) -> int | None:
    """The number of the operating system's error that this one passes on."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    number = OS_ERROR.search(str(error))
    return int(number[1]) if number else NUMBERS.get(type(error))


def _environment(error: BaseException) -> str | None:
    """What the operating system, the network or memory refused, and what to do; None for any other error."""
    names, number, said = _names(error), os_number(error), short(error, LONGEST // 2)
    if names.intersection(MEMORY_ERRORS) or (isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error))):
        return f"out of memory ({said or 'of the host'}): {MEMORY}"
    if names.intersection(NETWORK_ERRORS) or number in NETWORK_NUMBERS:
        return f"{said} ({type(error).__name__}): {NETWORK}"
    if number is None:
        return f"{said}" if isinstance(error, OSError) else None
    remedy = REMEDIES.get(number, "correct it and run again")
    if not isinstance(error, OSError) or error.filename is None:
        return f"{said}: {remedy}"
    paths = [short(name, LONGEST // 4) for name in (error.filename, error.filename2) if name is not None]
    return f"{' to '.join(paths)}: {error.strerror or said}: {remedy}"


def _names(error: BaseException) -> set[str]:
    return {f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__}


def user_facing(main: Callable[..., None]) -> Callable[..., None]:
    """Run a stage's main: an error that a user can act on becomes one line on stderr and exit status 1."""

    @wraps(main)
    def run(argv: list[str] | None = None) -> None:
        try:
            return main(argv)
        except Exception as error:
            line = f"error: {told(error)}"
        gc.collect()  # what the error held (progress bars) says its last before the line, not after it
        sys.exit(line)

    return run
