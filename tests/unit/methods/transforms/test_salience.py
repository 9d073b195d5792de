"""AWQ's search: never worse than identity, and its scales what the paper says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import make_cell, make_model, write_statistics

from ptqbench.formats import compressed_tensors
from ptqbench.formats.layout import Layout
from ptqbench.linalg.proxy import correlations, quick_error
from ptqbench.methods.transforms import salience
from ptqbench.methods.transforms.salience import candidate, part_losses, quick_losses, scaled_loss, search
from ptqbench.numbers.grid import Grid

LAYOUT = Layout(3, 32, False)


@pytest.mark.parametrize("duo", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_search_never_loses_to_identity_and_sometimes_wins(tmp_path: Path, bits: int, duo: bool) -> None:
    path = make_model(tmp_path / "model")
    grid = Grid(bits, 32)
    cell = make_cell(path, write_statistics(path, tmp_path / "statistics"), {}, grid)
    gains = []
    for index in range(cell.n_blocks):
        state = cell.state(index)
        for site in state.sites:
            scale, record = search(state, (site,), grid, 20, duo)
            weight, hessian = state.stacked(site), state.statistics[site.name].hessian
            identity = scaled_loss(weight, torch.ones(weight.shape[1]), hessian, grid)
            found = identity if scale is None else scaled_loss(weight, scale, hessian, grid)
            assert found <= identity
            assert record["relative_loss"] == pytest.approx(found / identity)
            gains.append(found < identity)
    assert any(gains)


def test_what_the_quick_loss_cannot_tell_apart_is_compared_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_model(tmp_path / "model")
    grid = Grid(4, 32)
    state = make_cell(path, write_statistics(path, tmp_path / "statistics"), {}, grid).state(0)
    wanted = [search(state, (site,), grid, 300, True)[1]["ratio"] for site in state.sites]
    seen: list[list[float]] = []

    def noisy(weight: torch.Tensor, scales: list[torch.Tensor], hessian: torch.Tensor, at: Grid) -> torch.Tensor:
        losses = part_losses(weight, scales, hessian, at)
        losses *= 1 + 0.02 * torch.tensor([(-1) ** index for index in range(len(scales))])
        seen.append(losses.tolist())
        return losses

    monkeypatch.setattr(salience, "part_losses", noisy)
    monkeypatch.setattr(salience, "quick_error", lambda *_: 0.02)
    found = [search(state, (site,), grid, 300, True)[1]["ratio"] for site in state.sites]
    assert found == wanted
    assert [(min(range(302), key=losses.__getitem__) - 1) / 300 for losses in seen] != wanted


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_quick_loss_of_a_scale(bits: int) -> None:
    generator = torch.Generator().manual_seed(bits)
    x = torch.randn(600, 128, generator=generator) * torch.logspace(-1, 1, 128)
    weight, hessian = 0.02 * torch.randn(512, 128, generator=generator), x.T @ x / 600
    scales = [candidate(x.abs().mean(0), None, ratio) for ratio in (0.0, 0.5, 1.0)]
    expected = torch.stack([scaled_loss(weight, scale, hessian, Grid(bits, 32)) for scale in scales])
    found = quick_losses(weight, scales, correlations(hessian), Grid(bits, 32))
    torch.testing.assert_close(found, expected, rtol=quick_error(512, hessian), atol=0)


def test_only_what_may_be_better_by_more_than_matters_is_compared_again() -> None:
    assert salience.unsure([1.3, 1.1, 1.0], 0.01) == [2]
    assert salience.unsure([1.00005, 1.00005, 1.00003, 1.0], 3e-5) == [0, 2, 3], "identity, and what may be 4e-5 below"
    assert salience.unsure([1.5, 1.0, 1.000001], 8e-6) == [1], "another that is as good is not looked at"


def test_candidate_is_normalized_and_plain_zero_is_identity() -> None:
    salience = torch.tensor([0.5, 2.0, 8.0])
    torch.testing.assert_close(candidate(salience, None, 0.0), torch.ones(3))
    scale = candidate(salience, None, 1.0)
    assert (scale.max() * scale.min()).item() == pytest.approx(1.0)
    torch.testing.assert_close(scale / scale[0], salience / salience[0])


def test_scale_is_shared_by_the_query_heads_of_a_key_value_head(tmp_path: Path) -> None:
    path = make_model(tmp_path / "model")
    grid = Grid(2, 32)
    cell = make_cell(path, write_statistics(path, tmp_path / "statistics"), {}, grid)
    state = cell.state(0)
    site = next(site for site in state.sites if site.name == "attention_out")
    scale, _ = search(state, (site,), grid, 20, True)
    assert scale is not None
    heads = scale.view(2, 2, 16)  # kv heads, query heads of each, width
    assert torch.equal(heads[:, 0], heads[:, 1])


def test_without_channel_scales_what_folds_is_scaled_and_the_rest_is_left_alone(tmp_path: Path) -> None:
    path = make_model(tmp_path / "model", "mamba")
    statistics = write_statistics(path, tmp_path / "statistics")
    scaled = {}
    for kept in (True, False):
        method = {"transform": {"salience": {"channel_scale": kept}}}
        ((block, records), _) = make_cell(path, statistics, method, Grid(3, 32)).blocks()
        scaled[kept] = {record["site"] for record in records}
        refused = [name for name, linear in block.linears.items() if compressed_tensors.refuses(linear, LAYOUT)]
        assert refused == (["mixer.x_proj", "mixer.out_proj"] if kept else [])
        assert "norm.weight" in block.tensors, "in_proj's scale folds into the norm either way"
    assert scaled == {True: {"in", "selection", "steps", "out"}, False: {"in", "steps"}}


def test_each_expert_is_measured_on_the_grid_of_its_own_width(tmp_path: Path) -> None:
    path = make_model(tmp_path / "model", "mixtral")
    cell = make_cell(path, write_statistics(path, tmp_path / "statistics"), {}, Grid(4, 32))
    cell.widths = {(0, f"mlp.{expert}"): bits for expert, bits in enumerate((2, 3, 4, 8))}
    state = cell.state(0)
    group = tuple(site for site in state.sites if site.stage == "mlp")

    def loss(scale: torch.Tensor) -> float:
        found = 0.0
        for expert, bits in enumerate((2, 3, 4, 8)):
            site = next(site for site in group if site.name == f"mlp.{expert}")
            own = state.statistics[site.name]
            found += own.tokens * scaled_loss(state.stacked(site), scale, own.hessian, Grid(bits, 32)).item()
        return found

    scale, record = search(state, group, Grid(4, 32), 20, True)
    assert scale is not None
    assert record["relative_loss"] == pytest.approx(loss(scale) / loss(torch.ones_like(scale)), rel=1e-4)
