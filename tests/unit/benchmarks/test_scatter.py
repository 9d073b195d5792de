"""The benchmark of scattered cells runs anywhere, and its jobs make the same codes."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

from clone import REPOSITORY


def test_two_jobs_beside_one(tmp_path: Path) -> None:
    out = tmp_path / "scatter.csv"
    settings = "--shape tiny --layers 4 --samples 4 --length 64 --group-size 32 --method quip"
    command = [sys.executable, "benchmarks/scatter.py", *settings.split(), "--out", str(out)]
    env = {**os.environ, "PYTHONPATH": "src", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with open(out, newline="") as stream:
        one, two = csv.DictReader(stream)
    assert (one["jobs"], two["jobs"]) == ("1", "2")
    assert float(two["speedup"]) > 0
