"""What a run shows, on a terminal and through a pipe, and that it is shown without being asked for."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from clone import ENVIRONMENT, Clone

CELL = "tiny/text/gptq/w4g32"
SHOWN = {"PTQBENCH_LOG": "", "PYTHONPATH": "src"}
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


@pytest.fixture
def stale(clone: Clone) -> Clone:
    """A finished clone that has one evaluation to make again."""
    (clone.root / f"results/eval/{CELL}/perplexity.json").unlink()
    return clone


def on_a_terminal(clone: Clone, *arguments: str) -> tuple[int, str]:
    """The status and all that a run writes to a terminal of 30 lines of 100 characters."""
    ours, theirs = pty.openpty()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
        cwd=clone.root,
        env={**os.environ, **ENVIRONMENT, **SHOWN, "PATH": path, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    written = b""
    while chunk := _read(ours):
        written += chunk
    os.close(ours)
    return process.wait(), written.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # Linux: the last process that had the other end is gone
        return b""


def test_on_a_terminal_lines_stand_for_jobs_and_the_run(stale: Clone) -> None:
    status, written = on_a_terminal(stale)
    assert status == 0, written
    plain = CONTROL.sub("", written)
    assert re.search(rf"evaluate {CELL}/perplexity · (\d+ s|window \d/4 · 0 s left)", plain)
    assert re.search(r"\n0 of 3 · about \d+ s left|\n0 of 3", plain)
    assert re.search(rf"evaluate {CELL}/perplexity · took \d+ s", plain)
    assert "3 of 3 jobs done" in plain
    assert "rule evaluate" not in plain
    hidden, shown = written.rfind("\x1b[?25l"), written.rfind("\x1b[?25h")
    assert -1 < hidden < shown, "the cursor is given back"


def test_through_a_pipe_there_are_plain_lines(stale: Clone) -> None:
    dry = stale.snakemake("-n", **SHOWN)
    assert dry.returncode == 0
    lines = [line.split() for line in dry.stdout.splitlines()]
    assert ["evaluate", "tiny", "1", "not", "made", "yet"] in lines
    assert ["total", "3"] in lines
    assert len(lines) < 10

    run = stale.snakemake(**SHOWN)
    assert run.returncode == 0, run.stdout
    assert "\x1b" not in run.stdout
    lines = run.stdout.splitlines()
    assert "3 jobs: 1 evaluate, 1 report, 1 all" in lines
    assert any(
        re.fullmatch(rf"1 of 3 · about .* left · evaluate {CELL}/perplexity · took \d+ s", line) for line in lines
    )
    assert lines[-1].startswith("3 of 3 jobs done in ")
    assert (stale.root / ".snakemake/ptqbench-rates.json").is_file()
    assert "rule evaluate:" in max((stale.root / ".snakemake/log").iterdir()).read_text(), "Snakemake's log has it all"


def test_a_failed_job_shows_the_end_of_its_log(clone: Clone) -> None:
    manifest = clone.root / f"results/packed/{CELL}/checkpoint/model.safetensors"
    content = bytearray(manifest.read_bytes())
    content[-1] ^= 1
    manifest.write_bytes(content)
    (clone.root / f"results/eval/{CELL}/perplexity.json").unlink()
    run = clone.snakemake(**SHOWN)
    assert run.returncode == 1
    lines = run.stdout.splitlines()
    start = lines.index(f"failed  evaluate {CELL}/perplexity")
    assert lines[start + 1] == f"  logs/eval/{CELL}/perplexity.log:"
    assert lines[start + 2].startswith("    error: ")
    assert "Traceback" not in run.stdout


def test_without_the_package_snakemake_shows_its_own_lines(stale: Clone) -> None:
    """The logger is not on this Python's path, so the profile does not ask for it."""
    run = subprocess.run(
        [sys.executable, "-c", _without("snakemake_logger_plugin_ptqbench"), "--cores", "1", "-n"],
        cwd=stale.root,
        env={**os.environ, **ENVIRONMENT, "PTQBENCH_LOG": ""},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "\nrule evaluate:\n" in run.stdout


def _without(module: str) -> str:
    return f"""
import importlib.util, sys
import importlib.metadata
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {module!r} else find(name, *rest)
from snakemake.cli import main
main()
"""
