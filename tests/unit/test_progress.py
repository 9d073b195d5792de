"""Progress in a log: few lines, the last one when all is done."""

from __future__ import annotations

import pytest

from ptqbench import progress
from ptqbench.progress import progress_bar


def test_the_end_is_always_reported(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("block", total=3) as advance:
        for index in range(3):
            advance(1, f"number {index}")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("block 3/3 number 2")


def test_a_line_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with progress_bar("block", total=100) as advance:
        for _ in range(9):
            advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["3/100", "6/100", "9/100"]
    assert lines[0].endswith("about 388 s remain")  # 12 s for three, so 4 s each for 97
