"""The float model's stored predictions, of every family, and what a suite tells of the distance to them."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_models
import torch
from safetensors.torch import save_file
from torch import nn

from ptqbench.errors import UserError
from ptqbench.evaluation.divergence import Change
from ptqbench.evaluation.fidelity import quantile, summary
from ptqbench.evaluation.reference import Head, Stored, check_head, file, states
from ptqbench.models.adapter import load_adapter
from ptqbench.models.headers import read_config
from ptqbench.models.load import load_model


@pytest.mark.parametrize("family", [*tiny_models.FAMILIES, *tiny_models.MIXTURES])
def test_the_stored_states_are_the_models_predictions(family: str, tmp_path: Path) -> None:
    """To the bit, also in another dtype than the weights are stored in."""
    tiny_models.make_model(tmp_path / "model", family, torch.bfloat16)
    model = load_model(tmp_path / "model", load_adapter(read_config(tmp_path / "model", "")), dtype=torch.float32)
    model.eval()
    cut, head = tiny_models.tokens(5), Head.of(tmp_path / "model", remote=False)
    seen, logits = zip(*states(model, cut, 2), strict=True)
    check_head(head.to("cpu", torch.float32), seen[0], logits[0], "models.m")
    save_file({"tokens": cut.int(), "hidden": torch.cat(seen)}, file(tmp_path, "text"))
    stored = Stored(tmp_path, head, "cpu")
    assert torch.equal(stored.tokens("text"), cut)
    for found, expected in zip(stored.logits("text", 2), logits, strict=True):
        assert torch.equal(found, expected)


class Capped(nn.Module):
    """A head and what comes behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.device = nn.Linear(8, 20, bias=False), torch.device("cpu")

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, input_ids: torch.Tensor, use_cache: bool) -> SimpleNamespace:
        return SimpleNamespace(logits=self.head(nn.functional.one_hot(input_ids, 8).float()).tanh())


def test_a_head_that_is_not_all_is_refused() -> None:
    model = Capped()
    hidden, logits = next(states(model, torch.arange(8)[None], 1))
    with pytest.raises(UserError, match=r"^models\.m: the model's logits are not its head's product .* fidelity need"):
        check_head(Head(model.head.weight.detach()), hidden, logits, "models.m")
    assert not model.head._forward_pre_hooks


def changes(n: int, t: int, seed: int = 0) -> list[Change]:
    """Windows of unequal difficulty."""
    rng = np.random.default_rng(seed)
    hard = rng.gamma(2, 1, (n, 1))
    arrays = (hard * rng.exponential(0.1, (n, t)), rng.random((n, t)) < 0.9, rng.normal(0, 0.1, (n, t)))
    parts = zip(*(torch.from_numpy(one.astype(float)) for one in arrays), strict=True)
    return [Change(*one) for one in parts]


def test_the_rows_of_a_corpus() -> None:
    found = changes(6, 500)
    rows = {row["metric"]: row for row in summary(found, None)}
    assert list(rows) == ["kl", "kl_median", "kl_p99", "kl_p99.9", "same_top", "rms_shift"]
    kl = np.stack([one.divergence for one in found])
    assert rows["kl"]["value"] == pytest.approx(kl.mean())
    assert rows["kl"]["stderr"] == pytest.approx(kl.mean(1).std(ddof=1) / math.sqrt(6))
    assert rows["kl"]["items"] == pytest.approx(kl.mean(1).tolist())
    assert rows["kl_p99"]["value"] == pytest.approx(np.quantile(kl, 0.99))
    assert rows["kl_median"]["value"] < rows["kl_p99"]["value"] < rows["kl_p99.9"]["value"]
    squares = np.stack([one.shift**2 for one in found]).mean(1)
    assert rows["rms_shift"]["value"] == pytest.approx(math.sqrt(squares.mean()))
    assert rows["rms_shift"]["items"] == pytest.approx(squares.tolist())
    assert rows["same_top"]["value"] == pytest.approx(np.mean([one.same_top for one in found]))


def test_a_bound_is_told_as_one() -> None:
    rows = summary(changes(3, 50), 20)
    assert [row["metric"] for row in rows if "top_k" in row] == [
        f"kl_bound{s}" for s in ("", "_median", "_p99", "_p99.9")
    ]
    assert {row.get("top_k") for row in rows} == {20, None}


def test_a_single_window_and_no_distance_at_all() -> None:
    rows = summary(changes(1, 50), None)
    assert all(math.isnan(row["stderr"]) for row in rows)
    none = [Change(*(torch.zeros(9, dtype=torch.float64) for _ in range(3)))] * 2
    assert [(row["value"], row["stderr"]) for row in summary(none, None)] == [(0.0, 0.0)] * 6


def test_the_standard_errors_are_those_of_repeated_measurements() -> None:
    drawn = [summary(changes(40, 60, seed), None) for seed in range(150)]
    for rows in zip(*drawn, strict=True):
        spread = np.std([row["value"] for row in rows])
        assert np.mean([row["stderr"] for row in rows]) == pytest.approx(spread, rel=0.3), rows[0]["metric"]


def test_a_quantile_of_windows_that_are_alike() -> None:
    assert quantile(np.ones((4, 10)), 0.99) == {"value": 1.0, "stderr": 0.0}
