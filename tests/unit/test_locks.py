"""Locks that end with their process."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from clone import REPOSITORY

ENTER = (
    "import sys; from pathlib import Path; from ptqbench.locks import enter; print(enter(Path(sys.argv[1]), {host!r}))"
)
HOLD = ENTER + "; sys.stdout.flush(); import time; time.sleep(60)"


def enter(state: Path, host: str = "here") -> bool:
    """Whether a run of its own process released a lock."""
    command = [sys.executable, "-c", ENTER.format(host=host), str(state)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "True"


def hold(state: Path) -> subprocess.Popen[str]:
    """A run that stays alive."""
    command = [sys.executable, "-c", HOLD.format(host="here"), str(state)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.fixture(autouse=True)
def _source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "src"))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """As Snakemake leaves it after SIGKILL: a run of this host was registered, and its lock file stayed."""
    assert not enter(tmp_path)
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/0.output.lock").write_text("results/x\n")
    return tmp_path


def test_the_lock_of_a_dead_run_is_released(state: Path) -> None:
    assert enter(state)
    assert not (state / "locks").exists()
    assert not enter(state)


def test_the_lock_of_a_live_run_is_kept_until_it_dies(state: Path) -> None:
    locks = state / "locks/0.output.lock"
    content = locks.read_text()
    locks.unlink()
    process = hold(state)
    locks.write_text(content)
    assert not enter(state)
    assert locks.exists()
    process.kill()
    process.wait()
    assert enter(state)


def test_two_live_runs_protect_each_other(state: Path) -> None:
    (state / "locks/0.output.lock").unlink()
    first, second = hold(state), hold(state)
    (state / "locks/0.output.lock").write_text("results/x\n")
    first.kill()
    first.wait()
    assert not enter(state)
    second.kill()
    second.wait()
    assert enter(state)


@pytest.mark.parametrize("recorded", ["elsewhere", ""])
def test_the_lock_of_another_host_is_left_alone(state: Path, recorded: str) -> None:
    (state / "ptqbench.lock").write_text(recorded)
    assert not enter(state)
    assert (state / "locks/0.output.lock").exists()


def test_a_second_writer_waits_for_the_first(tmp_path: Path) -> None:
    output = tmp_path / "artifact/manifest.json"
    code = "import sys, time; from pathlib import Path; from ptqbench.locks import claim; claim(Path(sys.argv[1]));"
    command = [sys.executable, "-c", f"{code} print('mine', flush=True); time.sleep(2)", str(output)]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    first.stdout.readline()
    begun = time.monotonic()
    second = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert second.stdout is not None
    assert second.stdout.readline() == "mine\n"
    assert first.wait() == 0, "the first had ended when the second began"
    assert time.monotonic() - begun > 1
    second.kill()
    second.wait()
