import hashlib
import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from ptqbench import spec
from ptqbench.devices import gpu_slots, visible_gpus
from ptqbench.errors import UserError
from ptqbench.fingerprint import fingerprint
from ptqbench.manifest import canonical, write_text
from ptqbench.plan import Plan
from ptqbench.recipe import FLOAT, modules, normalize


report: "../report/workflow.rst"


# the code that runs is the code that is fingerprinted; remote code, telemetry and progress bars stay off
shell.prefix(
    "set -euo pipefail; export PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} PYTHONUNBUFFERED=1 "
    "HF_DATASETS_DISABLE_PROGRESS_BARS=1 HF_HUB_DISABLE_TELEMETRY=1 TOKENIZERS_PARALLELISM=false; "
)

RESULTS = "results"
CELL = ("model", "calibration", "method", "scheme")
LOGS = "logs"

try:
    PLAN = Plan(config, Path(workflow.basedir))
except UserError as error:
    raise WorkflowError(str(error)) from None
for line in PLAN.damaged(Path(RESULTS)):
    print(f"damaged: {line}", file=sys.stderr)

# a job for each slot of each GPU, or two jobs at once without a GPU, share the cores
THREADS = max(1, (os.cpu_count() or 2) // max(2, len(visible_gpus()) * gpu_slots()))


def one_of(names):
    return "|".join(map(re.escape, names)) or "-"


wildcard_constraints:
    model=one_of(config["models"]),
    calibration=one_of([*config["calibration"], spec.NO_CALIBRATION]),
    method=one_of([*config["methods"], spec.FLOAT_METHOD]),
    scheme=one_of([*config["schemes"], spec.FLOAT_SCHEME]),
    suite=one_of(config["suites"]),


def environment(wildcards):
    """Digest of the pinned environment: an upgrade recomputes."""
    return hashlib.sha256(
        Path(workflow.basedir, "envs/ptqbench.yaml").read_bytes()
    ).hexdigest()[:12]


def specification(stage, *names):
    """A params function: the canonical JSON of the config that a stage depends on."""
    build = getattr(spec, f"{stage}_spec")

    def of(wildcards):
        return canonical(build(config, *(wildcards[name] for name in names)))

    return of


def code(stage):
    """A params function: the digests of the code that a stage reaches, members of a method included."""

    def of(wildcards):
        roots = [f"ptqbench.stages.{stage}"]
        if stage == "statistics":
            roots += [f"ptqbench.statistics.{name}" for name in spec.statistics()]
        if stage == "quantize":
            roots += modules(
                normalize(wildcards.method, config["methods"][wildcards.method])
            )
        if stage == "export":
            roots += [f"ptqbench.formats.{name}" for name in spec.formats()]
        if stage == "evaluate":
            roots += [
                f"ptqbench.evaluation.{config['suites'][wildcards.suite]['kind']}"
            ]
        return fingerprint(roots)

    return of


def weights(wildcards):
    """Sampled digests of a local model's files: retrained weights recompute."""
    return PLAN.digests(wildcards.model)


def planned(wildcards):
    """What the report covers, as one canonical JSON."""
    cells = [
        {"cell": list(cell), "spec": spec.export_spec(config, *cell)}
        for cell in PLAN.cells
    ]
    evaluations = [
        {
            "cell": list(cell),
            "suite": suite,
            "spec": spec.evaluate_spec(config, *cell, suite),
        }
        for cell, suite in PLAN.evaluations
    ]
    return canonical({"cells": cells, "evaluations": evaluations})
