"""Progress in a log: few lines, soon after the beginning too, the last one when all is done."""

from __future__ import annotations

from itertools import pairwise

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


@pytest.mark.parametrize(("step", "first"), [(0.01, 101), (0.5, 3), (4.0, 1), (100.0, 1)])
def test_a_line_now_and_then(
    step: float, first: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = (index * step for index in range(10_000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress_bar("block", total=1000) as advance:
        for _ in range(999):
            advance(1)
    done = [int(line.split()[1].split("/")[0]) for line in capsys.readouterr().err.splitlines()]
    assert done[0] == first
    gaps = [(after - before) * step for before, after in pairwise(done)]
    assert all(0.99 < gap <= max(progress.LINE_EVERY_SECONDS, step) + step for gap in gaps)


def test_a_line_tells_what_remains(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 12.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress_bar("block", total=100) as advance:
        advance(3)
    assert capsys.readouterr().err.rstrip().endswith("about 388 s remain")  # 12 s for three, so 4 s each for 97
