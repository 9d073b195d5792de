"""The benchmark of KL beside tasks counts what it says."""

from __future__ import annotations

import polars as pl
from scripts import script

from ptqbench.reporting.scores import PAIRS


def test_orders_are_compared_pair_by_pair() -> None:
    """Three cells; the accuracy tells one pair apart, orders it against the KL, and another as the KL does."""
    rows = [
        ("kl t (s)", "a", "b", -0.1, 0.01),
        ("kl t (s)", "a", "c", -0.5, 0.01),
        ("kl t (s)", "b", "c", -0.4, 10.0),
        ("acc % q", "b", "a", 9.0, 1.0),
        ("acc % q", "a", "c", 1.0, 5.0),
        ("acc % q", "b", "c", 10.0, 30.0),
    ]
    pairs = pl.DataFrame([(*row, None) for row in rows], schema=PAIRS, orient="row")
    agreement = script("fidelity").agreement
    found = agreement(pairs, "kl t (s)", "acc % q", -1, ["a", "b", "c"])
    assert (found["pairs"], found["told apart by KL"], found["by the other"]) == (3, 2, 1)
    assert found["same order, all pairs"] == "2 of 3"
    assert found["same order, told apart by the other"] == "0 of 1"
    assert agreement(pairs, "kl t (s)", "acc % q", -1, ["a", "c"])["same order, all pairs"] == "1 of 1"
