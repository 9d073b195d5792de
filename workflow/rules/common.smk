import hashlib
import os
import re
import sys
import time
from functools import cache
from pathlib import Path
from shlex import quote

from snakemake.io import IOFile

from ptqbench import bytecode, dropping, spec
from ptqbench.config import hand_on, take_over
from ptqbench.devices import check_torch, gpu_slots, visible_gpus
from ptqbench.errors import UserError, told
from ptqbench.estimates import host
from ptqbench.evaluation import runtime
from ptqbench.evaluation.environment import lock_digest
from ptqbench.fingerprint import fingerprint
from ptqbench.formats import choice
from ptqbench.locks import enter
from ptqbench.manifest import canonical
from ptqbench.normalize import normalize
from ptqbench.cells import Cell
from ptqbench.plan import Plan
from ptqbench.places import check_folders
from ptqbench.reach import roots
from ptqbench.records import Planned
from ptqbench.reporting.names import diagnosis_pages
from ptqbench.sealed import write
from ptqbench.supported import check_transformers
from ptqbench.words import size


report: "../report/workflow.rst"


# the workflow's own files; what the config names is relative to the working directory, as in every job
BASE = Path(os.path.relpath(workflow.basedir))


# the code that runs is the code that is fingerprinted; remote code, telemetry and progress bars stay off
shell.prefix(
    f"set -euo pipefail; export PYTHONPATH={quote(str(BASE / 'src'))}"
    "${{PYTHONPATH:+:$PYTHONPATH}} PYTHONUNBUFFERED=1 "
    "HF_DATASETS_DISABLE_PROGRESS_BARS=1 HF_HUB_DISABLE_TELEMETRY=1 TOKENIZERS_PARALLELISM=false; "
)

# jobs of a host whose packages come without bytecode compile them once
os.environ |= bytecode.settings()

RESULTS = "results"
CELL = ("model", "calibration", "method", "scheme")
LOGS = "logs"

# a user's mistake is one line, not a traceback; jobs on other hosts mean by `auto` what this one does
try:
    if workflow.is_main_process:
        check_torch()
        if untried := check_transformers():
            print(untried, file=sys.stderr)
        check_folders(Path(RESULTS), Path(LOGS), Path("reports"))
        runtime.settle(config, BASE)
    else:
        take_over(config)
    PLAN = Plan(config, workflow=BASE, state=Path(".snakemake"))

    # once a run, not again in every job that Snakemake starts as a process of its own
    if workflow.is_main_process:
        hand_on(config, Path(".snakemake"))
        if enter(Path(".snakemake")):
            print("An earlier run was killed: its lock is released.", file=sys.stderr)
        for line in [*runtime.withdraw_gone(BASE), *PLAN.damaged(Path(RESULTS))]:
            print(f"damaged: {line}", file=sys.stderr)
        for manifest in dropping.revive(PLAN, Path(RESULTS)):
            print(f"dropped, and needed again: {manifest}", file=sys.stderr)
        for line in host.expected(PLAN, Path(RESULTS)):
            print(line, file=sys.stderr)

    # with a calibration set for each seed, which jobs make of their config again
    config.update(PLAN.config)

    # what was damaged is made anew even if nothing that is left to do needs it
    WITHDRAWN = [str(output) for output in PLAN.withdrawn(Path(RESULTS))]
except Exception as error:
    sys.exit(f"error: {told(error)}")

BEGUN = time.time()


def check_memory():
    """Refuse jobs that this machine cannot hold, where it is the one to run them."""
    if not workflow.local_exec:
        return
    try:
        host.check(PLAN, Path(RESULTS))
    except UserError as error:
        sys.exit(f"error: {told(error)}")


def drop():
    """Remove what the config does not keep, now that everything is made of it."""
    if freed := dropping.drop(PLAN, Path(RESULTS)):
        print(f"dropped {size(freed)} that `keep` does not name.", file=sys.stderr)


def note_jobs():
    """Keep what this run's jobs took: the next estimate goes by it."""
    records = {
        output: workflow.persistence.metadata(IOFile(str(output)))
        for output in PLAN.outputs(Path(RESULTS))
    }
    host.note(PLAN, Path(RESULTS), records, BEGUN)


# a job for each slot of each GPU, or two jobs at once without a GPU, share the cores
THREADS = max(1, (os.cpu_count() or 2) // max(2, len(visible_gpus()) * gpu_slots()))

# on a CPU, the pass that all cells of a model wait for takes every core that there is, unless there are several:
# each would wait for all other jobs to end, and cores would idle
PASSES = {cell[:2] for cell in PLAN.cells if spec.is_ours(cell)}
PASS_THREADS = THREADS if visible_gpus() or len(PASSES) > 1 else 64


# what others quantized
CHECKPOINTS = config.get("checkpoints", {})


def one_of(names):
    return "|".join(map(re.escape, names)) or "-"


wildcard_constraints:
    model=one_of(config["models"]),
    calibration=one_of([*config["calibration"], spec.NO_CALIBRATION, spec.UNKNOWN]),
    method=one_of([*config["methods"], spec.FLOAT_METHOD, *CHECKPOINTS]),
    scheme=one_of([*config["schemes"], spec.FLOAT_SCHEME, spec.THEIR_SCHEME]),
    suite=one_of(config["suites"]),


def environment(wildcards):
    """Digest of the pinned environment: an upgrade recomputes."""
    return hashlib.sha256(Path(BASE, "envs/ptqbench.yaml").read_bytes()).hexdigest()[
        :12
    ]


def server_environment(wildcards):
    """What stands for the serving environment of the backend that runs: an upgrade of vLLM evaluates again."""
    return runtime.environment_digest(evaluate_spec(wildcards)["backend"], BASE)


def decided(stage, model, *names):
    """The config that a stage depends on whose share the choice table decides, by the model's type."""
    build = getattr(spec, f"{stage}_spec")
    return build(config, model, *names, PLAN.model_type(model, Path(RESULTS)))


def cell_spec(stage, *names):
    """The config that a stage depends on, from the wildcards."""
    build = getattr(spec, f"{stage}_spec")

    def of(wildcards):
        found = [wildcards[name] for name in names]
        if stage in ("export", "evaluate"):
            return decided(stage, *found)
        return build(config, *found)

    return of


export_spec = cell_spec("export", *CELL)
evaluate_spec = cell_spec("evaluate", *CELL, "suite")


def specification(stage, *names):
    """A params function: the canonical JSON of the config that a stage depends on."""
    found = cell_spec(stage, *names)

    def of(wildcards):
        return canonical(found(wildcards))

    return of


def code(stage, *names):
    """A params function: the digests of the code that a stage reaches, that named in its spec included."""

    def of(wildcards):
        if not names:
            return fingerprint(roots(stage, {}))
        adapter = PLAN.adapter(wildcards.model, Path(RESULTS))
        return fingerprint(roots(stage, cell_spec(stage, *names)(wildcards), adapter))

    return of


# many jobs share these files: each is read once a run
WEIGHTS, TEXTS, DOCUMENTS, TEXT = map(
    cache, (PLAN.weights, PLAN.texts, PLAN.documents, PLAN.text)
)


def weights(wildcards):
    """Digests of a local model's files: retrained weights recompute."""
    return WEIGHTS(wildcards.model)


def checkpoint_files(wildcards):
    """Digests of a local checkpoint of others: another content is evaluated again."""
    return PLAN.checkpoint(wildcards.method)


def texts(wildcards):
    """The digest of a calibration set's local file: another text recomputes."""
    return TEXTS(wildcards.calibration)


def documents(wildcards):
    """Digests of a suite's local texts and task files: other texts evaluate again."""
    return DOCUMENTS(wildcards.suite)


def held_out(wildcards):
    """The digest of the text that a cell is diagnosed on, if it is a local file."""
    corpus = spec.diagnose_spec(config, *(wildcards[name] for name in CELL))["held_out"]
    return TEXT(corpus["corpus"])


def codes(wildcards):
    """The quantized cell to pack: schemes that differ in their format alone share it."""
    cell = Cell(*(wildcards[name] for name in CELL))
    return f"{RESULTS}/quantized/{PLAN.codes(cell).path}/manifest.json"


def statistics_of(wildcards):
    """The statistics that a cell reads: none where it makes its own behind the quantized prefix."""
    recipe = normalize(wildcards.method, config["methods"][wildcards.method])
    mixed = config["schemes"][wildcards.scheme].get("bits") == "mixed"
    if not (mixed or recipe.reads_statistics):
        return []
    return (
        f"{RESULTS}/statistics/{wildcards.model}/{wildcards.calibration}/manifest.json"
    )


def reference_of(wildcards):
    """The float model's predictions, for suites that compare with them."""
    if not spec.has_reference(config, wildcards.suite):
        return []
    return f"{RESULTS}/reference/{wildcards.model}/{wildcards.suite}/manifest.json"


def float_model(wildcards):
    """The prepared model, whose head makes logits of them."""
    if not spec.has_reference(config, wildcards.suite):
        return []
    return f"{RESULTS}/models/{wildcards.model}/manifest.json"


def serve_lock(wildcards):
    """The lock file of a serving environment."""
    return str(BASE / f"envs/serve-{wildcards.kind}.txt")


def serve_digest(wildcards):
    """The digest of its pins."""
    return lock_digest(Path(serve_lock(wildcards)))


def server_marker(wildcards):
    """The environment that a suite's server needs; none where this Python, or no server, does it.

    A hub's model may turn out to be of a type that another backend evaluates, once it is here: inputs may not follow.
    """
    local = "path" in config["models"][wildcards.model]
    asked = spec.backend_of(config, wildcards.suite)
    backend = evaluate_spec(wildcards)["backend"] if local else asked
    marker = runtime.environment_marker(backend)
    return ancient(str(BASE / marker)) if marker else []


def gpus(wildcards, resources):
    """The GPUs that evaluate a model together; asking for resources keeps them out of what makes a result stale."""
    return spec.gpus(config, wildcards.model)


def gpu_jobs(wildcards):
    """What evaluating a model takes of the counted GPUs: one job's share, or several GPUs whole."""
    count = spec.gpus(config, wildcards.model)
    return count if count == 1 else count * gpu_slots()


def planned():
    """What the report covers."""
    of_seeds, expected = PLAN.seeds, host.memory(PLAN, Path(RESULTS))
    cells = [
        {
            "cell": list(cell),
            "spec": decided("export", *cell),
            "family": spec.family(config, cell.model),
            **({"expected_memory_bytes": expected[cell]} if cell in expected else {}),
            **(
                {"seeds_of": list(of_seeds[cell][0]), "seed": of_seeds[cell][1]}
                if cell in of_seeds
                else {}
            ),
        }
        for cell in PLAN.cells
    ]
    evaluations = [
        {
            "cell": list(cell),
            "suite": suite,
            "spec": decided("evaluate", *cell, suite),
        }
        for cell, suite in PLAN.evaluations
    ]
    diagnosed = [
        {"cell": list(cell), "spec": spec.diagnose_spec(config, *cell)}
        for cell in PLAN.diagnosed
    ]
    return {"cells": cells, "evaluations": evaluations, "diagnosed": diagnosed}


def plan_digest(wildcards):
    """Digest of what the report covers, which itself would fill the terminal."""
    return hashlib.sha256(canonical(planned()).encode()).hexdigest()[:12]
