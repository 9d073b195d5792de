"""Locks of the kernel, which end with the process that holds them, however it ends.

Snakemake locks a working directory with plain files, which SIGKILL leaves in place. Every run therefore also holds a
kernel lock: whoever can have that one alone knows that no other run of this host is alive. A file system without
locks is treated as if nobody held any.
"""

from __future__ import annotations

import errno
import fcntl
import shutil
import socket
from pathlib import Path
from typing import IO

UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

_held: list[IO[str]] = []  # open, and so locked, until the process ends


def claim(output: Path) -> None:
    """Become the only writer of ``output`` until this process ends.

    A stage may outlive a Snakemake that was killed: the next run's stage waits here until it is gone.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    _lock(_open(output.with_name(f".{output.name}.lock")), fcntl.LOCK_EX)


def enter(state: Path, host: str | None = None) -> bool:
    """Register this process as a run in ``state`` (``.snakemake``); True if it released a dead run's lock.

    A lock that another host left is not touched, since that run may be alive there: with ``snakemake --unlock`` the
    user says that it is not.
    """
    state.mkdir(exist_ok=True)
    host = host or socket.gethostname()
    record = _open(state / "ptqbench.lock")
    try:
        alone = _lock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # another run is alive
        alone = False
    released = alone and _release(state / "locks", record, host)
    _lock(record, fcntl.LOCK_SH)
    return released


def _release(locks: Path, record: IO[str], host: str) -> bool:
    record.seek(0)
    if not any(locks.glob("*.lock")):
        record.truncate(0)
        record.write(host)
        record.flush()
    elif record.read() == host:
        shutil.rmtree(locks)
        return True
    return False


def _open(file: Path) -> IO[str]:
    _held.append(open(file, "a+"))  # noqa: SIM115
    return _held[-1]


def _lock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.lockf(file, kind)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return False
    return True
