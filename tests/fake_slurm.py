"""SLURM's commands as far as Snakemake's plugin uses them, for hosts without SLURM: every job is a process here.

``install`` puts them all into a folder for PATH, so that none comes from a SLURM of the host. Jobs inherit the
environment as with ``sbatch --export=ALL``, which is SLURM's default, or only PATH and HOME where
``FAKE_SLURM_EXPORT=NONE``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

COMMANDS = ("sbatch", "squeue", "srun", "sinfo", "sacctmgr", "scontrol", "scancel")
KEPT = ("PATH", "HOME")


def install(folder: Path) -> Path:
    """Make the commands in ``folder``; their state is beside them."""
    folder.mkdir()
    for name in COMMANDS:
        command = folder / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} {folder}/jobs "$@"\n')
        command.chmod(0o755)
    (folder / "jobs").mkdir()
    return folder


def sbatch(jobs: Path, arguments: list[str]) -> None:
    """Start the wrapped command and print its number."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--wrap", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--job-name", required=True)
    parser.add_argument("--gpus", type=int, default=0)
    options, _ = parser.parse_known_args(arguments)
    number = str(len(list(jobs.glob("*.name"))) + 1)
    (jobs / f"{number}.name").write_text(options.job_name)
    (jobs / f"{number}.gpus").write_text(str(options.gpus))
    variables = {key: os.environ[key] for key in KEPT} if os.environ.get("FAKE_SLURM_EXPORT") == "NONE" else os.environ
    status = jobs / f"{number}.status"
    script = f"({options.wrap}); echo $? > {status}.tmp; mv {status}.tmp {status}"
    log = Path(options.output.replace("%j", number))
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as output:
        subprocess.Popen(
            ["bash", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**variables, "SLURM_JOB_ID": number},
            start_new_session=True,
        )
    print(number)


def squeue(jobs: Path, arguments: list[str]) -> None:
    """``number|STATE`` of every job of a run."""
    run = arguments[arguments.index("--name") + 1]
    for file in jobs.glob("*.name"):
        if file.read_text() == run:
            status = file.with_suffix(".status")
            state = "RUNNING" if not status.exists() else "COMPLETED" if status.read_text() == "0\n" else "FAILED"
            print(f"{file.stem}|{state}")


def srun(jobs: Path, arguments: list[str]) -> None:
    """Run the command that follows the options."""
    while arguments[0].startswith("-"):
        arguments = arguments[1:]
    os.execvp(arguments[0], arguments)


def sinfo(jobs: Path, arguments: list[str]) -> None:
    """The partitions of the profile."""
    print("PARTITION\ncpu*\ngpu")


def sacctmgr(jobs: Path, arguments: list[str]) -> None:
    """The user's accounts: the profile's."""
    print("none")


def scontrol(jobs: Path, arguments: list[str]) -> None:
    """How long ``squeue`` remembers a job: long enough that the plugin does not turn to ``sacct``."""
    print("MinJobAge = 300 sec")


def scancel(jobs: Path, arguments: list[str]) -> None:
    """Nothing is cancelled: a test that failed leaves its jobs to end by themselves."""


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), sys.argv[3:])
