"""What a server's log says about its death: the cause in one line, and whether another try may help."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import NamedTuple

TAIL_LINES = 15
PREFIX = re.compile(r"^(\([^)]*pid=\d+\) )?([A-Z]+ \d\d-\d\d [\d:]+ \[[^\]]*\] )?")
ERROR = re.compile(r"^[\w.]*(Error|Exception|Exit): ")
CONSEQUENCES = (
    "Engine core initialization failed",
    "EngineDeadError",
    "Worker failed with error",
    "WorkerProc initialization failed",
)

PORT = r"address already in use"
RACE = r"Error in memory profiling|No available memory for the cache blocks|Free memory on device .* is less than"
MEMORY = r"out of memory|OutOfMemory|can't allocate memory|Cannot allocate memory|larger than the available KV cache"


class Fault(NamedTuple):
    """The ``cause`` in words; ``again``: it may have passed."""

    cause: str
    again: bool


def diagnose(log: Path, status: int = 1) -> Fault:
    """Why a server that wrote ``log`` did not come up, or died with an exit ``status`` (128 and more: of a signal)."""
    lines = text(log).splitlines()
    stripped = [PREFIX.sub("", line).strip() for line in lines]
    errors = [line for line in stripped if ERROR.match(line) and not any(word in line for word in CONSEQUENCES)]
    content = "\n".join(stripped)
    last = errors[-1] if errors else _last_words(stripped, content)
    if re.search(PORT, content, re.IGNORECASE):
        return Fault("its port was taken meanwhile", True)
    if re.search(RACE, content):
        return Fault(f"the GPU's memory was in use or changed while it was measured ({_short(last)})", True)
    if re.search(MEMORY, content):
        return Fault(f"out of memory ({_short(last)}): use a larger device, or a suite with fewer tokens", False)
    if not errors and status == 128 + signal.SIGKILL:
        return Fault(f"it was killed, as by a host that lacks memory (it said last: {_short(last)})", False)
    return Fault(_short(last), False)


def _last_words(lines: list[str], content: str) -> str:
    if "EngineDeadError" in content:
        return "its engine ended without a word, as by a signal (an illegal instruction, or the host lacked memory)"
    return next((line for line in reversed(lines) if line), "it wrote nothing")


def tail(log: Path) -> str:
    """The last lines of a log."""
    return "\n".join(text(log).splitlines()[-TAIL_LINES:])


def text(log: Path) -> str:
    """A log's text; progress bars leave only their last state."""
    content = log.read_bytes().decode(errors="replace") if log.is_file() else ""
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in content.split("\n"))


def _short(line: str, width: int = 300) -> str:
    return line if len(line) <= width else f"{line[:width]}…"
