"""SIGKILL in the middle of any rule: the next run finishes, keeps what was finished and trusts nothing half-written.

After SIGKILL Snakemake's lock files stay behind. A user needs nothing but the same command again: a run also holds a
lock of the kernel, so that the next one knows whether an earlier one is alive and releases the lock of a dead one
(``ptqbench.locks``). Only a lock that another host left needs ``snakemake --unlock``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import tiny
from clone import Clone, config, jobs

from ptqbench.manifest import verify

PAUSE = Path(__file__).parent / "pause"
RELEASED = "An earlier run was killed: its lock is released."
CELL = "tiny/other/gptq/w4g32"
# each rule of the chain, the file it is about to write when it is killed, and what it makes
CHAIN = [
    ("calibrate", "results/calibration/tiny/other/tokens.parquet", "results/calibration/tiny/other/manifest.json"),
    (
        "statistics",
        "results/statistics/tiny/other/block-001.safetensors",
        "results/statistics/tiny/other/manifest.json",
    ),
    ("quantize", f"results/quantized/{CELL}/manifest.json", f"results/quantized/{CELL}/manifest.json"),
    ("export", f"results/packed/{CELL}/checkpoint/config.json", f"results/packed/{CELL}/manifest.json"),
    ("evaluate", f"results/eval/{CELL}/perplexity.json", f"results/eval/{CELL}/perplexity.json"),
    ("report", "reports/cells.parquet", "reports/index.html"),
]


def paused(clone: Clone, file: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a run and return when it is about to write ``file``; it goes on once there is a file ``resume``."""
    marker = clone.root / "paused"
    marker.unlink(missing_ok=True)
    hook = {"PYTHONPATH": str(PAUSE), "PAUSE_MARKER": str(marker), "PAUSE_UNTIL": str(clone.root / "resume")}
    process = clone.start(*arguments, PAUSE_BEFORE=f"*{file}", **hook)
    until = time.monotonic() + 120
    while not marker.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until, f"{file} was never written"
        time.sleep(0.05)
    return process


def kill_group(process: subprocess.Popen[str]) -> None:
    """Kill Snakemake and every job it runs."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def add_calibration(clone: Clone) -> None:
    """One more cell, with a calibration set of its own: every rule has one new job, each after the one before."""
    changed = config()
    changed["calibration"]["other"] = {**changed["calibration"]["text"], "seed": 1}
    for block in changed["grid"]:
        block["calibration"] = ["text"]
    cell = {"models": ["tiny"], "methods": ["gptq"], "schemes": ["w4g32"], "suites": ["perplexity"]}
    changed["grid"].append({**cell, "calibration": ["other"]})
    clone.configure(changed)


def verify_everything(clone: Clone) -> None:
    manifests = list(clone.root.glob("results/**/manifest.json"))
    assert len(manifests) > 10
    for manifest in manifests:
        verify(manifest)
    assert not list(clone.root.glob("results/**/*.tmp"))


def test_killed_in_every_rule(clone: Clone) -> None:
    add_calibration(clone)
    for index, (rule, file, output) in enumerate(CHAIN):
        before = clone.finished()
        previous = (clone.root / output).stat() if (clone.root / output).exists() else None
        kill_group(paused(clone, file))
        after = clone.finished()
        assert before.items() <= after.items(), f"{rule}: finished artifacts were touched"
        assert set(after) - set(before) <= {made for _, _, made in CHAIN[:index]}, f"{rule} is not finished"
        current = (clone.root / output).stat() if (clone.root / output).exists() else None
        assert current is None or current == previous, f"{rule}: {output} was written"
    before = clone.finished()
    run = clone.snakemake()
    assert run.returncode == 0, run.stdout
    assert RELEASED in run.stdout
    assert {rule for rule, _ in jobs(run.stdout)} == {"report", "all"}
    assert clone.finished() == before
    assert f"| {'tiny'} | other | gptq | w4g32 |" in (clone.root / "reports/summary.md").read_text()
    verify_everything(clone)
    assert clone.stale() == set()


def test_killed_while_a_model_is_prepared(clone: Clone) -> None:
    changed = config()
    tiny.write_model(clone.root / "resources/models/second", seed=1)
    changed["models"]["second"] = {"path": "resources/models/second"}
    changed["grid"][0]["models"].append("second")
    clone.configure(changed)
    before, target = clone.finished(), "results/models/second/manifest.json"
    kill_group(paused(clone, target, target))
    assert clone.finished() == before
    run = clone.snakemake(target)
    assert run.returncode == 0, run.stdout
    assert jobs(run.stdout) == {("prepare", "second")}
    assert before.items() <= clone.finished().items()
    verify(clone.root / target)


def test_a_job_that_outlives_snakemake(clone: Clone) -> None:
    """A second run is refused while the first is alive; after that one's death it waits for the orphaned job."""
    add_calibration(clone)
    _, file, target = CHAIN[0]
    first = paused(clone, file, target)
    try:
        refused = clone.snakemake(target)
        assert refused.returncode == 1
        assert "LockException" in refused.stdout
        assert RELEASED not in refused.stdout
        assert not jobs(refused.stdout)

        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        second = clone.start(target)
        assert second.stdout is not None
        shown = list(iter(second.stdout.readline, "localrule calibrate:\n"))
        assert f"{RELEASED}\n" in shown
        time.sleep(4)  # enough to make these tokens, were it not for the orphan
        assert second.poll() is None
        assert not (clone.root / target).exists()
    finally:
        (clone.root / "resume").touch()
    output, _ = second.communicate()
    assert second.returncode == 0, output
    verify(clone.root / target)
    assert not list((clone.root / target).parent.glob("*.tmp"))
