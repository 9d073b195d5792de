"""Does a server compute what its checkpoint says: each served evaluation beside its twin in transformers, by token."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl

from ptqbench.errors import UserError
from ptqbench.manifest import read_result
from ptqbench.records import PlannedEvaluation, Result, Row
from ptqbench.reporting.tables import markdown
from ptqbench.schemes import INTEGER

TWIN = "transformers"
SUITE = ("kind", "corpora", "window", "limit")
TOLERANCE = 0.005

NOTES = f"""
Each row is one checkpoint, served by vLLM, and the same codes dequantized (for int8 activations: the same checkpoint)
in transformers, on the same windows. `abs Δ log p` is the mean over tokens of the absolute difference of the two
log-probabilities of the token, `Δ log p` the mean of their difference with its standard error. The float rows show
what two 16-bit implementations of the unquantized model differ by. `within`: perplexities differ by at most
{TOLERANCE:.1%}.
"""


def pairs(evaluations: list[PlannedEvaluation]) -> list[tuple[PlannedEvaluation, PlannedEvaluation]]:
    """Every served evaluation of a plan that keeps log-probabilities, with the twin's: same codes, same windows.

    Raises :class:`UserError` where one has no twin, or nothing is served.
    """
    ours = (one for one in evaluations if "checkpoint" not in one["spec"])  # nobody dequantized those of others
    kept = [one for one in ours if one["spec"]["suite"].get("keep_logprobs")]
    twins = {_key(one["spec"]): one for one in kept if one["spec"]["backend"] == TWIN}
    served = [one for one in kept if one["spec"]["backend"] != TWIN]
    for one in served:
        if _key(one["spec"]) not in twins:
            raise UserError(
                f"{'/'.join(one['cell'])} has no twin for suite '{one['suite']}': evaluate the same codes by a suite "
                f"of the same windows with backend {TWIN} (see workflow/presets/serving.yaml)"
            )
    if not served:
        raise UserError(
            "the plan has nothing to compare: set keep_logprobs in a suite of vLLM and in one of transformers"
        )
    return [(one, twins[_key(one["spec"])]) for one in served]


def table(evaluations: list[PlannedEvaluation], root: Path) -> pl.DataFrame:
    """One row per served evaluation and corpus that has results; the float model's come first."""
    rows = []
    for served, twin in pairs(evaluations):
        if not (_file(served, root).is_file() and _file(twin, root).is_file()):
            continue
        ours, theirs = (_read(one, root) for one in (served, twin))
        scheme, method = served["spec"]["scheme"], served["spec"]["method"]
        shared = {
            "model": served["cell"][0],
            "method": served["cell"][2],
            "bits": "+".join(map(str, scheme.get("choices", [scheme["bits"]]))),
            "number": scheme.get("number", INTEGER),
            **{key: scheme[key] for key in ("group_size", "symmetric")},
            "activations": method["activations"],
            "format": ours["export"],
            "server": ours["server"],
            "device": ours["device"],
        }
        expected = _kept(theirs)
        rows += [{**shared, "corpus": corpus, **compare(row, expected[corpus])} for corpus, row in _kept(ours).items()]
    return pl.DataFrame(rows).sort(pl.col("format") != "float", maintain_order=True)


def absent(evaluations: list[PlannedEvaluation], root: Path) -> list[str]:
    """Evaluations without a result: a server that failed, for instance."""
    wanted = [one for pair in pairs(evaluations) for one in pair if not _file(one, root).is_file()]
    return list(dict.fromkeys("/".join([*one["cell"], one["suite"]]) for one in wanted))


def compare(served: Row, twin: Row) -> dict[str, Any]:
    """The measures of one pair of perplexity rows with their ``logprobs``."""
    differences = [
        ours - theirs
        for one, other in zip(served["logprobs"], twin["logprobs"], strict=True)
        for ours, theirs in zip(one, other, strict=True)
    ]
    n = len(differences)
    mean = math.fsum(differences) / n
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in differences) / max(1, n - 1) / n)
    relative = served["value"] / twin["value"] - 1
    return {
        "perplexity": served["value"],
        "twin": twin["value"],
        "difference %": 100 * relative,
        "abs Δ log p": math.fsum(map(abs, differences)) / n,
        "Δ log p": mean,
        "± stderr": spread,
        "tokens": n,
        "within": abs(relative) <= TOLERANCE,
    }


def page(found: pl.DataFrame, missing: list[str]) -> str:
    """The table as Markdown; what is the same in every row goes into the heading's line."""
    gaps = f"\nWithout a result: {', '.join(missing)}.\n" if missing else ""
    same = [name for name in ("model", "server", "device", "corpus", "number") if found[name].n_unique() == 1]
    common = ", ".join(str(found[name][0]) for name in same)
    return f"# Served and dequantized\n\n{common}\n\n{markdown(found.drop(same))}\n{NOTES}{gaps}"


def _key(spec: dict[str, Any]) -> str:
    """What a served evaluation and its twin share."""
    scheme = {key: value for key, value in spec["scheme"].items() if key != "name"}
    suite = {key: spec["suite"].get(key) for key in SUITE}
    return str([spec["model"], spec["calibration"], spec["method"], scheme, suite])


def _file(evaluation: PlannedEvaluation, root: Path) -> Path:
    return root / "eval" / "/".join(evaluation["cell"]) / f"{evaluation['suite']}.json"


def _read(evaluation: PlannedEvaluation, root: Path) -> Result:
    file = _file(evaluation, root)
    content = read_result(file)
    if content["spec"] != evaluation["spec"]:
        raise UserError(f"{file} was made from another configuration than the present one: run snakemake again")
    return content


def _kept(content: Result) -> dict[str, Row]:
    return {row["task"]: row for row in content["rows"] if "logprobs" in row}
