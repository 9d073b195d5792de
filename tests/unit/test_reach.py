"""Which jobs a file of the package recomputes, over a plan that has every rule and most kinds of methods."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clone as clones
import pytest
from clone import Clone, config

from ptqbench import spec
from ptqbench.cells import Cell
from ptqbench.fingerprint import SOURCE, fingerprint
from ptqbench.plan import Plan
from ptqbench.reach import roots

METHODS: dict[str, dict[str, Any]] = {
    "rtn": {},
    "gptq": {"rounding": "gptq"},
    "awq": {"transform": "salience", "range": "search"},
    "quip": {"transform": "incoherence", "range": "rms", "rounding": "ldlq"},
    "quarot": {"transform": {"rotation": "hadamard"}, "range": "mse", "rounding": "gptq"},
    "behind": {"rounding": "gptq", "propagate": True},
    "learned": {"range": "learned", "rounding": "gptq"},
}
MIXED, FLOAT = "mixed", "float"
WINDOWS: dict[str, Any] = {"corpora": {"test": clones.TEST}, "limit": 2}


def planned(root: Path) -> Plan:
    """The small config with these methods, a scheme of mixed widths, a reference and diagnoses."""
    found = {**config(), "methods": METHODS, "backend": "transformers"}
    found["schemes"]["mixed"] = {"bits": "mixed", "choices": [2, 4], "budget": 3.0, "group_size": 32}
    found["suites"]["near"] = {"kind": "fidelity", **WINDOWS}
    common = {"models": ["tiny"], "suites": ["perplexity", "pairs", "near"]}
    found["grid"] = [
        {**common, "methods": list(METHODS), "schemes": ["w4g32"]},
        {**common, "methods": ["gptq"], "schemes": ["mixed"]},
        {**common, "methods": ["gptq", "quarot"], "schemes": ["w4g32"], "diagnose": True},
    ]
    return Plan(found, root)


def label(cell: Cell) -> str:
    return MIXED if cell.scheme == "mixed" else cell.method


def jobs(plan: Plan) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """A rule, which of its jobs, and that one's spec: a cell by its method, an evaluation by its suite."""
    yield "prepare", "", {}
    yield "calibrate", "", {}
    yield "statistics", "", spec.statistics_spec(plan.config, "tiny", "text")
    for cell in plan.cells:
        yield "export", label(cell), spec.export_spec(plan.config, *cell, "llama")
        if cell.method != FLOAT:
            yield "quantize", label(cell), spec.quantize_spec(plan.config, *cell)
    for cell in plan.diagnosed:
        yield "diagnose", label(cell), spec.diagnose_spec(plan.config, *cell)
    for _, suite in plan.references:
        yield "reference", "", spec.reference_spec(plan.config, "tiny", suite)
    for cell, suite in plan.evaluations:
        yield "evaluate", suite, spec.evaluate_spec(plan.config, *cell, suite, "llama")
    yield "report", "", {}
    yield "agreement", "", {}


@pytest.fixture(scope="module")
def reached(blank: Clone) -> dict[str, dict[str, set[str]]]:
    """Of every file that some job reaches: by rule, which of its jobs."""
    found: dict[str, dict[str, set[str]]] = {}
    for rule, name, of in jobs(planned(blank.root)):
        for file in fingerprint(roots(rule, of, "llama")):
            found.setdefault(file, {}).setdefault(rule, set()).add(name)
    return found


CELLS = {*METHODS, MIXED}
EVERY = {"quantize": CELLS, "diagnose": {"gptq", "quarot"}}
BEHIND = {"behind", "learned"}  # learned ranges see both streams, and so propagate
COMPENSATED = {"quantize": CELLS - {"rtn", "awq"}, "diagnose": {"gptq", "quarot"}}
EXPORTS = {*CELLS, FLOAT}
SUITES = {"perplexity", "pairs", "near"}
ONCE = {""}

EDITS: dict[str, dict[str, set[str]]] = {
    "linalg/knapsack": {"quantize": {MIXED}},
    "linalg/divergence": {"quantize": {MIXED}, "diagnose": EVERY["diagnose"], "reference": ONCE, "evaluate": {"near"}},
    "linalg/basis": {**EVERY, "export": EXPORTS},
    "linalg/factor": COMPENSATED,
    "numbers/grid": {**EVERY, "export": EXPORTS},
    "numbers/elements": {**EVERY, "export": CELLS, "evaluate": SUITES, "reference": ONCE},
    "numbers/bitstream": {**EVERY, "export": EXPORTS, "evaluate": SUITES, "reference": ONCE},
    "kernels/fake": {"quantize": {"learned"}},
    "kernels/clip": {"quantize": {"awq"}},
    "kernels/sums": {"statistics": ONCE},
    "statistics/magnitude": {"statistics": ONCE},
    "data/calibration": {**EVERY, "calibrate": ONCE, "statistics": ONCE},
    "models/adapters/llama": {
        **EVERY,
        "calibrate": ONCE,
        "statistics": ONCE,
        "export": EXPORTS,
        "reference": ONCE,
        "evaluate": SUITES,
    },
    "models/adapters/mixtral": {},
    "models/skeleton": {"quantize": BEHIND, "statistics": ONCE},
    "artifacts/cell": {"diagnose": EVERY["diagnose"], "export": EXPORTS},
    "formats/compressed_tensors": {"export": CELLS},
    "formats/gptq": {},
    "formats/decompress": {"reference": ONCE, "evaluate": SUITES},
    "methods/columns": COMPENSATED,
    "methods/training/descent": {"quantize": {"learned"}},
    "methods/transforms/salience": {"quantize": {"awq"}},
    "methods/transforms/rotation_hadamard": {"quantize": {"quarot"}, "diagnose": {"quarot"}},
    "methods/ranges/rms": {"quantize": {"quip"}},
    "methods/rounding/ldlq": {"quantize": {"quip"}},
    "methods/rounding/gptq": {"quantize": CELLS - {"rtn", "awq", "quip"}, "diagnose": EVERY["diagnose"]},
    "drive/site": EVERY,
    "drive/propagate": {"quantize": BEHIND},
    "drive/mixed": {"quantize": {MIXED}},
    "diagnosis/depth": {"diagnose": EVERY["diagnose"]},
    "evaluation/tasks": {"evaluate": {"pairs"}},
    "evaluation/fidelity": {"evaluate": {"near"}, "reference": ONCE},
    "evaluation/backends/vllm": {},
    "reporting/page": {"report": ONCE},
    "reporting/agreement": {"agreement": ONCE},
    "estimates/needs": {},
    "commands/run": {},
    "plan": {},
    "compositions": {"report": ONCE},
    "normalize": {"report": ONCE},
}


@pytest.mark.parametrize("file", EDITS)
def test_what_a_file_recomputes(file: str, reached: dict[str, dict[str, set[str]]]) -> None:
    """The jobs whose keys it is in; what follows them is Snakemake's (tests/workflow/test_staleness.py)."""
    assert (SOURCE / f"ptqbench/{file}.py").is_file()
    assert reached.get(f"ptqbench/{file}.py", {}) == EDITS[file]


def test_a_model_of_the_hub_that_is_not_here_yet_has_no_adapter() -> None:
    assert roots("statistics", {"statistics": ["moments"]}) == [
        "ptqbench.stages.statistics",
        "ptqbench.statistics.moments",
    ]


def test_the_float_model_reaches_no_format_and_no_member() -> None:
    export = spec.export_spec(config(), "tiny", spec.NO_CALIBRATION, spec.FLOAT_METHOD, spec.FLOAT_SCHEME)
    assert roots("export", export, "llama") == ["ptqbench.stages.export", "ptqbench.models.adapters.llama"]


@pytest.mark.parametrize(("model_type", "backend"), [("llama", "vllm"), ("mamba", "transformers"), (None, "vllm")])
def test_the_backend_that_runs_is_reached_not_the_one_that_is_asked(model_type: str | None, backend: str) -> None:
    asked = {**config(), "backend": "vllm-cpu"}
    of = spec.evaluate_spec(asked, "tiny", "text", "gptq", "w4g32", "perplexity", model_type)
    assert roots("evaluate", of)[-1] == f"ptqbench.evaluation.backends.{backend}"
