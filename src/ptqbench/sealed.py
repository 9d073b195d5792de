"""Records as files: JSON whose first line is the sha256 of the rest, so that no changed byte is taken for a number.

A file that is no such record, or whose content does not fit its type, is named and withdrawn: snakemake makes it anew.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from ptqbench.atomic import write_text
from ptqbench.errors import DamagedArtifact, short
from ptqbench.records import misfit

LARGEST = 1 << 30  # bytes; the log-probabilities of long texts are a tenth of it
SEAL = re.compile(rb'\{\n "sealed": "([0-9a-f]{64})",')

Kind = TypeVar("Kind")


def seal(content: Any, kind: type[Kind]) -> str:
    """A record's text. Raises :class:`TypeError` for one that does not fit its own type."""
    if problem := misfit(content, kind):
        raise TypeError(f"a record of type {kind.__name__} cannot be written: {problem}")
    body = json.dumps(content, indent=1, sort_keys=True) + "\n"
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f'{{\n "sealed": "{digest}",{body[1:]}'


def unseal(data: bytes, kind: type[Kind]) -> Kind:
    """A record from its bytes. Raises :class:`ValueError` that says what is wrong."""
    found = SEAL.match(data)
    if not found:
        raise ValueError("has no digest of its content: earlier code or another program wrote it")
    body = b"{" + data[found.end() :]
    if hashlib.sha256(body).hexdigest().encode() != found[1]:
        raise ValueError("is not what was written: its content does not have the digest that it names")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON ({short(error, 100)})") from None
    if problem := misfit(content, kind):
        raise ValueError(f"is no record of type {kind.__name__}: {problem}")
    return cast(Kind, content)


def write(file: Path, content: Any, kind: type[Kind]) -> None:
    """Write a record, which ends its withdrawal."""
    write_text(file, seal(content, kind))
    discard(withdrawn(file))


def read(file: Path, kind: type[Kind]) -> Kind:
    """Read a record; a damaged one is named and withdrawn, to be made anew."""
    if not os.path.lexists(file):
        raise DamagedArtifact(f"{file} is missing: snakemake makes it anew")
    try:
        return unseal(_bytes(file), kind)
    except ValueError as error:
        raise withdraw(file, file, str(error)) from None


def fits(file: Path, kind: type[Kind]) -> bool:
    """Whether a record could be read; it stays where it is."""
    try:
        return unseal(_bytes(file), kind) is not None
    except ValueError:
        return False


def withdrawn(output: Path) -> Path:
    """Where a damaged record goes; while it is there, the workflow makes it anew."""
    return output.with_suffix(".damaged")


def withdraw(output: Path, file: Path, problem: str) -> DamagedArtifact:
    """Set the record ``output`` aside because of ``file``; returns the error to raise."""
    discard(withdrawn(output))
    with suppress(FileNotFoundError):  # another reader was faster
        os.replace(output, withdrawn(output))
    return DamagedArtifact(f"{file} {problem}: withdrawn, snakemake makes it anew")


def discard(path: Path) -> None:
    """Remove whatever stands in the place of a file, if anything does."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _bytes(file: Path) -> bytes:
    """The content of a regular file, links followed; a pipe would never end."""
    try:
        found = file.stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            raise
        raise ValueError("is a link to nothing") from None
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("is no file")
    if found.st_size > LARGEST:
        raise ValueError(f"has {found.st_size} bytes, more than any record")
    return file.read_bytes()
