"""Which metric of a task is its score, over every list of metrics that lm-eval's tasks have."""

from __future__ import annotations

import re
from importlib.util import find_spec
from itertools import islice, permutations
from pathlib import Path

import polars as pl
import pytest

from ptqbench.reporting.headline import METRICS, headline, shares, unscored
from ptqbench.reporting.results import RESULTS


def lists() -> set[tuple[str, ...]]:
    """The metrics that stand together in lm-eval's own task files."""
    spec = find_spec("lm_eval")
    assert spec is not None
    assert spec.origin is not None
    files = (Path(spec.origin).parent / "tasks").rglob("*.yaml")
    metric = re.compile(r"^\s*-?\s*metric:\s*['\"]?(\w[\w@.-]*)['\"]?\s*$", re.MULTILINE)
    return {tuple(dict.fromkeys(metric.findall(file.read_text(encoding="utf-8")))) for file in files}


def test_the_order_decides_whatever_the_order_of_the_rows() -> None:
    found = lists()
    assert len(found) > 15
    for metrics in found:
        known = [name for name in METRICS if name in metrics]
        for order in islice(permutations(metrics), 6):
            assert headline(order) == (known[0] if known else None), metrics
    assert headline(["acc", "acc_norm"]) == "acc_norm"
    assert headline(["bleu", "exact_match[flexible]", "exact_match[strict]"]) == "exact_match[flexible]"
    assert headline(["exact_match[strict]", "exact_match"]) == "exact_match"


def test_what_has_no_share_is_named() -> None:
    def row(task: str, metric: str, value: float, asked: bool = True) -> dict[str, object]:
        return {"suite": "s", "task": task, "metric": metric, "value": value, "asked": asked}

    rows = [row("gsm8k", "exact_match[strict]", 0.4), row("wmt", "bleu", 31.0), row("squad", "f1", 81.0)]
    rows += [row("part", "acc", 0.5, asked=False)]
    table = pl.DataFrame(rows, schema=RESULTS)
    assert shares(table)["task"].to_list() == ["gsm8k"]
    assert unscored(table) == ["s/wmt", "s/squad"]


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_of_the_order_is_a_score(name: str) -> None:
    assert headline(["bleu", name]) == name
