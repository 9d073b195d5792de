"""A dry run as a table: rules, models, numbers of jobs, and Snakemake's reasons in a few words."""

from __future__ import annotations

import pytest

from snakemake_logger_plugin_ptqbench.table import Planned, planned, table

CODE = "Params have changed since last execution: Union of exclusive params before and now across all output: "
BEFORE = "before: {'ptqbench/a.py': '0123456789ab', 'ptqbench/methods/rounding/gptq.py': '0123456789ab'} "
NOW = "now: {'ptqbench/a.py': '0123456789ab', 'ptqbench/methods/rounding/gptq.py': 'ba9876543210'} "


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        ("Missing output files: results/quantized/m/manifest.json", "not made yet"),
        ("Missing output files: x; Input files updated by another job: y", "not made yet"),
        ("Input files updated by another job: results/models/m/manifest.json", "follows"),
        ("Updated input files: a; Input files updated by another job: y", "its input is newer"),
        ("Forced execution", "forced"),
        (CODE + BEFORE + NOW, "code changed: methods/rounding/gptq.py"),
        (CODE + "before: '{\"bits\": 4}' now: '{\"bits\": 3}' ", "its settings changed"),
        ("Set of input files has changed since last execution; " + CODE + BEFORE + NOW,
         "other inputs, code changed: methods/rounding/gptq.py"),
        ("a reason that Snakemake has not had yet", "a reason that Snakemake has not had yet"),
    ],
)  # fmt: skip
def test_reasons(reason: str, why: str) -> None:
    assert planned("quantize", {"model": "m"}, reason) == Planned("quantize", "m", why)


def test_rows_are_by_rule_and_model() -> None:
    jobs = [Planned("prepare", "a", "not made yet"), Planned("evaluate", "a", "follows")]
    jobs += [Planned("prepare", "b", "forced"), Planned("evaluate", "a", "follows")]
    jobs += [Planned("evaluate", "a", "its settings changed"), Planned("all", "", "follows")]
    assert table(jobs) == [
        "rule      model  jobs  why",
        "prepare   a         1  not made yet",
        "prepare   b         1  forced",
        "evaluate  a         3  2 follows; 1 its settings changed",
        "all                 1  follows",
        "total               6",
    ]
