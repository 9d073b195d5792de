"""A fake serving environment, and whether anything of it is still alive."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ptqbench.evaluation.environment import MARKER, lock_digest
from ptqbench.records import Environment
from ptqbench.sealed import write

TESTS = Path(__file__).parent


def fake_environment(folder: Path) -> Path:
    """The marker of an environment whose Python is ``fake_vllm.py``."""
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{TESTS / "fake_vllm.py"}" "$@"\n')
    python.chmod(0o755)
    digest = lock_digest(TESTS.parent / "envs/serve-cpu.txt")
    write(folder / MARKER, {"lock": digest, "python": "python"}, Environment)
    return folder / MARKER


def started(pids: Path) -> list[int]:
    """Every process that fake servers started, themselves included."""
    return [int(pid) for pid in pids.read_text().split()] if pids.exists() else []


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether ``condition`` comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def environment(pids: Path, mode: str) -> dict[str, str]:
    """Variables for a process that starts fake servers."""
    return {**os.environ, "FAKE_VLLM": mode, "FAKE_VLLM_PIDS": str(pids), "CUDA_VISIBLE_DEVICES": ""}
