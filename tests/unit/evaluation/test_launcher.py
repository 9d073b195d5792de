"""The launcher ends with its command, ends its command with its parent, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from serving import alive, within

from ptqbench.evaluation import launcher
from ptqbench.evaluation.launcher import descendants

ORPHAN = "setsid sleep 1000 & echo $! > {pids}; "


def launch(*command: str, parent: int | None = None) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-I", launcher.__file__, str(parent or os.getpid()), *command]
    return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, start_new_session=True)


def pid_in(file: Path) -> int:
    assert within(10, lambda: file.exists() and bool(file.read_text().strip()))
    return int(file.read_text())


@pytest.mark.parametrize(("command", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137)])
def test_the_status_is_the_commands_and_orphans_are_ended(tmp_path: Path, command: str, status: int) -> None:
    pids = tmp_path / "pids"
    process = launch("sh", "-c", ORPHAN.format(pids=pids) + command)
    assert process.wait(20) == status
    assert not alive(pid_in(pids))


def test_a_signal_ends_all(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    process = launch("sh", "-c", ORPHAN.format(pids=pids) + "sleep 1000")
    orphan = pid_in(pids)
    below = descendants(process.pid)
    assert orphan in below
    assert len(below) == 3
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGTERM
    assert not any(map(alive, below))


def test_a_parent_that_is_gone_already() -> None:
    assert launch("sleep", "1000", parent=1).wait(20) == 1


def test_a_command_that_is_not_there() -> None:
    process = subprocess.run(
        [sys.executable, "-I", launcher.__file__, str(os.getpid()), "/no/such/python"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert "No such file or directory: '/no/such/python'" in process.stderr


def test_the_command_is_told_when_the_launcher_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    process = launch("sh", "-c", f"echo $$ > {pids}; exec sleep 1000")
    command = pid_in(pids)
    process.kill()
    process.wait()
    assert within(10, lambda: not alive(command))
