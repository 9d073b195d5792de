"""Logs of dead servers, as vLLM writes them, and the one line that is made of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptqbench.evaluation.faults import TAIL_LINES, diagnose, tail

CORE = "(EngineCore pid=25396) ERROR 11-23 08:05:45 [core.py:1160] "


@pytest.mark.parametrize(
    ("lines", "cause", "again"),
    [
        ([f"{CORE}KeyError: 'a'", "RuntimeError: Engine core initialization failed. See root"], "KeyError: 'a'", False),
        (
            [f"{CORE}KeyError: 'a'", f"{CORE}Exception: WorkerProc initialization failed: see above"],
            "KeyError: 'a'",
            False,
        ),
        (["pydantic_core.ValidationError: 1 error", "ValueError: no such flag"], "ValueError: no such flag", False),
        (["nothing of note", "", "Killed"], "Killed", False),
        ([], "it wrote nothing", False),
        (
            [f"{CORE}vllm.v1.engine.exceptions.EngineDeadError: See stack trace (above)", "nanobind: leaked 4 types!"],
            "its engine ended without a word, as by a signal (an illegal instruction, or the host lacked memory)",
            False,
        ),
        (["OSError: [Errno 98] Address already in use"], "its port was taken meanwhile", True),
        (
            [f"{CORE}ValueError: No available memory for the cache blocks. Try increasing it."],
            "the GPU's memory was in use or changed while it was measured "
            "(ValueError: No available memory for the cache blocks. Try increasing it.)",
            True,
        ),
        (
            ["ValueError: Free memory on device cuda:0 (3.1/139.8 GiB) on startup is less than desired"],
            "the GPU's memory was in use or changed while it was measured "
            "(ValueError: Free memory on device cuda:0 (3.1/139.8 GiB) on startup is less than desired)",
            True,
        ),
        (
            ["RuntimeError: [enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory"],
            "out of memory (RuntimeError: [enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate "
            "memory): use a larger device, or a suite with fewer tokens",
            False,
        ),
    ],
)
def test_causes(tmp_path: Path, lines: list[str], cause: str, again: bool) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join(lines))
    assert diagnose(log) == (cause, again)


def test_a_log_that_was_never_written(tmp_path: Path) -> None:
    assert diagnose(tmp_path / "log").cause == "it wrote nothing"


def test_long_lines_are_cut(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("ValueError: " + "x" * 10000)
    assert len(diagnose(log).cause) < 400


def test_the_tail(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"line %d\n" % i for i in range(50)) + b"bar 0%\rbar 50%\rbar 100%\r\n\xff")
    shown = tail(log).splitlines()
    assert len(shown) == TAIL_LINES
    assert shown[-2:] == ["bar 100%", "\ufffd"]
