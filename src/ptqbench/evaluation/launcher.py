"""Run one command so that nothing of it outlives the process that asked: ``launcher.py PARENT_PID COMMAND…``.

The kernel tells this process when its parent dies, however it dies, and hands it the orphans of its children: so it
can end every process that the command started, sessions of their own or not. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import FrameType

SET_PDEATHSIG, SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
GRACE_SECONDS = 10.0
POLL_SECONDS = 0.05


def main(argv: list[str]) -> int:
    """The command's exit status; 128 plus the signal's number if one ended it."""
    parent, command = int(argv[0]), argv[1:]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _leave)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(SET_CHILD_SUBREAPER, 1)
    follow(libc)
    if os.getppid() != parent:  # it died before the kernel knew that it mattered
        return 1
    child = None
    try:
        # if this process is killed itself, the command is told: it ends what it started
        child = subprocess.Popen(command, start_new_session=True, preexec_fn=partial(follow, libc))
        status = child.wait()
        return status if status >= 0 else 128 - status
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if child is not None and child.poll() is None and os.getppid() == parent:
            _ask(child)
        _end_all()


def follow(libc: ctypes.CDLL) -> None:
    """Let the kernel send SIGTERM to this process when its parent dies; that outlasts ``exec``."""
    libc.prctl(SET_PDEATHSIG, signal.SIGTERM)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _ask(child: subprocess.Popen[bytes]) -> None:
    """Let the command end by itself, for a while."""
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"launcher: {child.args!r} ignored SIGTERM for {GRACE_SECONDS:.0f} s: killed", flush=True)


def _end_all() -> None:
    """Kill whatever is left, until nothing is."""
    while found := descendants(os.getpid()):
        for pid in found:
            kill(pid)
        _reap()
        time.sleep(POLL_SECONDS)


def descendants(root: int) -> list[int]:
    """Every process below ``root`` that is not a zombie of someone else's, youngest generation last."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, waiting = [], [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def kill(pid: int) -> None:
    """End a process, unless it has ended by itself."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
