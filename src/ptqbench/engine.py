"""Snakemake, the engine: the command line that a person could type, run with this Python and this code."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from ptqbench.place import PACKAGE, home


def arguments(folder: Path, cores: str, dry: bool = False) -> list[str]:
    """Snakemake's arguments for the config in ``folder``, from wherever it is called."""
    given = ["--snakefile", str(home() / "Snakefile"), "--directory", str(folder.resolve())]
    given += ["--workflow-profile", str(home() / "profiles/default"), "--cores", cores]
    return [*given, "--dry-run"] if dry else given


def shown(given: list[str]) -> str:
    """The command as it is typed."""
    return shlex.join(["snakemake", *given])


def run(given: list[str], folder: Path) -> int:
    """Run Snakemake in ``folder`` to its end; its exit status."""
    # its jobs call `python`, and may come from an environment that nobody activated
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    code = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *given], cwd=folder, env={**os.environ, "PATH": path, "PYTHONPATH": code}
    )
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # Snakemake has got it too, and ends its jobs
            continue
