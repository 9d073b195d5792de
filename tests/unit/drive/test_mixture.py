"""Mixtures of experts through every method, shared and propagated; routers; experts with little or no traffic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_models import (
    MIXTURES,
    make_cell,
    make_model,
    relative,
    tokens,
    transformed_tensors,
    write_statistics,
)
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from ptqbench.drive.cell import Cell
from ptqbench.drive.site import QuantizedBlock
from ptqbench.drive.traffic import UNROUTED
from ptqbench.linalg.proxy import proxy_loss
from ptqbench.methods.transforms.salience import scaled_loss, search
from ptqbench.models.experts import fuse, make_watchable
from ptqbench.models.skeleton import Skeleton
from ptqbench.numbers.grid import Grid

CONFIG = yaml.safe_load((Path(__file__).parents[3] / "config.yaml").read_text())
METHODS = CONFIG["methods"]


def quick(method: str) -> dict[str, Any]:
    """A method's line, with few steps where it learns."""
    recipe: dict[str, Any] = yaml.safe_load(yaml.safe_dump(METHODS[method]))
    for stage, few in (("range", {"learned": {"epochs": 1}}), ("rounding", {"signround": {"iterations": 4}})):
        if recipe.get(stage) in few:
            recipe[stage] = few
    if recipe.get("transform") == {"rotation": "learned"}:
        recipe["transform"] = {"rotation": {"learned": {"steps": 4}}}
    return recipe


@pytest.fixture(scope="module", params=MIXTURES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    path = make_model(folder / "model", request.param)
    return path, write_statistics(path, folder / "statistics")


@pytest.fixture(scope="module")
def mixtral(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("mixtral")
    path = make_model(folder / "model", "mixtral")
    return path, write_statistics(path, folder / "statistics")


def run(cell: Cell, tensors: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Logits, and the experts that every router chose, sorted; in float64."""
    config = AutoConfig.from_pretrained(cell.checkpoint.folder)
    network = AutoModelForCausalLM.from_config(config, dtype=torch.float64).eval()
    make_watchable(network)
    network.load_state_dict({name: tensor.double() for name, tensor in fuse(tensors).items()})
    chosen: list[Tensor] = []
    for name, module in network.named_modules():
        if name.endswith("mlp.gate"):
            module.register_forward_hook(lambda _, args, out: chosen.append(out[2].sort(-1).values))
    with torch.no_grad():
        return network(input_ids=tokens()).logits, chosen


def quantized_tensors(cell: Cell, blocks: list[QuantizedBlock]) -> dict[str, Tensor]:
    """The whole model after a cell, by checkpoint name."""
    tensors = {name: cell.checkpoint.tensor(name).float() for name in cell.checkpoint.headers}
    tensors |= cell.outside().tensors
    for index, block in enumerate(blocks):
        prefix = cell.checkpoint.adapter.prefix(index)
        tensors |= {prefix + name: tensor for name, tensor in block.tensors.items()}
        tensors |= {f"{prefix}{name}.weight": linear.dequantize() for name, linear in block.linears.items()}
    return tensors


@pytest.mark.parametrize("transform", ["salience", "smooth", {"rotation": "hadamard"}, ["smooth", "salience"]], ids=str)
def test_routers_choose_the_same_experts(model: tuple[Path, Path], transform: Any) -> None:
    plain, cell = (make_cell(*model, method, Grid(3, 32)) for method in ({}, {"transform": transform}))
    before, after = (run(one, transformed_tensors(one)) for one in (plain, cell))
    assert relative(after[0], before[0]) < 1e-4
    assert before[1]
    for found, expected in zip(after[1], before[1], strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_the_default_config_runs(model: tuple[Path, Path], method: str) -> None:
    """At 8 bits what comes out is nearly the float model, whatever the method."""
    recipe = quick(method)
    cell = make_cell(*model, recipe, Grid(8, 32, symmetric="smoothquant" in method))
    with torch.no_grad():
        if cell.recipe.propagate:
            blocks = [b for b, _ in cell.propagated(Skeleton(cell.checkpoint, cell.device, torch.float32), 3)]
        else:
            blocks = [b for b, _ in cell.blocks()]
    for index, block in enumerate(blocks):
        sites = cell.checkpoint.adapter.sites(cell.checkpoint.config, index)
        assert set(block.linears) == {linear for site in sites for linear in site.linears}
    plain = make_cell(*model, {}, Grid(8, 32))
    expected, _ = run(plain, transformed_tensors(plain))
    found, _ = run(cell, quantized_tensors(cell, blocks))
    assert relative(found, expected) < 0.1


@pytest.mark.parametrize("rounding", ["gptq", "gptaq"])
def test_compensation_beats_nearest_rounding_on_experts(model: tuple[Path, Path], rounding: str) -> None:
    losses = []
    for method in ({"propagate": True}, {"rounding": rounding, "propagate": True}):
        cell = make_cell(*model, method, Grid(3, 32))
        with torch.no_grad():
            blocks = cell.propagated(Skeleton(cell.checkpoint, cell.device, torch.float32), 3)
            records = [record for block, _ in blocks for record in block.records if "experts." in record["linear"]]
        losses.append(sum(record["proxy_loss"] for record in records))
    assert losses[1] < 0.9 * losses[0]


def test_one_search_serves_all_experts(mixtral: tuple[Path, Path]) -> None:
    """The chosen scale lowers the error per token of all experts together, each with its own Hessian and traffic."""
    grid = Grid(2, 32)
    state = make_cell(*mixtral, {}, grid).state(0)
    group = tuple(site for site in state.sites if site.stage == "mlp")
    scale, record = search(state, group, grid, 20, True)
    assert scale is not None
    assert len(group) == 5

    def total(scale: Tensor) -> float:
        experts = [(state.stacked(site), state.statistics[site.name]) for site in group if site.linears]
        return sum(scaled_loss(w, scale, own.hessian, grid).item() * own.tokens for w, own in experts)

    assert record["relative_loss"] == pytest.approx(total(scale) / total(torch.ones(64)), rel=1e-4)
    assert record["relative_loss"] < 1


def with_traffic(cell: Cell, index: int, counts: dict[int, int]) -> Any:
    """The state of a block whose experts ``counts`` saw so few tokens (their inputs are invented)."""
    state = cell.state(index)
    generator = torch.Generator().manual_seed(5)
    from ptqbench.drive.traffic import read_statistics
    from ptqbench.models.collect import SiteAccumulator

    tensors = {}
    for site in state.sites:
        n = state.weight((*site.linears, *site.readers)[0]).shape[1]
        accumulator = SiteAccumulator(("hessian", "magnitude"), n, cell.device, cell.device)
        expert = int(site.name.split(".")[1]) if site.routed else -1
        accumulator.update(torch.randn(counts.get(expert, 500), n, generator=generator))
        tensors |= accumulator.finish(site.name)
    state.statistics = read_statistics(dict(tensors), state.sites, cell.device, "test")
    return state, tensors


def test_little_traffic_shrinks_to_the_prior_and_none_rounds_to_nearest(mixtral: tuple[Path, Path]) -> None:
    from ptqbench.drive.records import settle
    from ptqbench.drive.site import nearest_losses, quantize_site
    from ptqbench.statistics.hessian import unfold

    grid = Grid(3, 32)
    cell = make_cell(*mixtral, {"transform": "salience", "rounding": "gptq"}, grid)
    state, tensors = with_traffic(cell, 0, {1: 24, 2: 0})
    everyone = unfold(tensors["mlp.hessian"], 64)
    own = unfold(tensors["mlp.1.hessian"], 64)
    torch.testing.assert_close(state.statistics["mlp.1"].hessian, (24 * own + 8 * everyone) / 32)
    torch.testing.assert_close(state.statistics["mlp.2"].hessian, everyone)
    down = unfold(tensors["mlp_out.1.hessian"], 128)
    power = sum(
        tensors[f"mlp_out.{e}.tokens"] * unfold(tensors[f"mlp_out.{e}.hessian"], 128).diagonal().mean()
        for e in range(4)
    ) / sum(tensors[f"mlp_out.{e}.tokens"] for e in range(4))
    torch.testing.assert_close(state.statistics["mlp_out.1"].hessian, (24 * down + 16 * power * torch.eye(128)) / 40)
    assert state.statistics["mlp.0"].prior == pytest.approx(8 / 508)
    torch.linalg.cholesky(state.statistics["mlp_out.1"].hessian)  # of full rank, though 24 tokens are not

    state.nearest_loss = nearest_losses(state, state.sites, grid)
    result = QuantizedBlock()
    for site in state.sites:
        quantize_site(state, site, cell.composition, grid, result)
    settle(result.records)
    records = {record["linear"].removeprefix("0.block_sparse_moe.experts."): record for record in result.records}
    for leaf in ("w1", "w2", "w3"):
        assert records[f"2.{leaf}"]["fallback"] == UNROUTED.as_json()
        assert records[f"2.{leaf}"]["tokens"] == 0
        assert records[f"2.{leaf}"]["proxy_loss"] == pytest.approx(records[f"2.{leaf}"]["nearest_proxy_loss"], rel=1e-4)
        assert records[f"1.{leaf}"]["fallback"]["words"].startswith("24 tokens")
        assert records[f"1.{leaf}"]["proxy_loss"] < 0.9 * records[f"1.{leaf}"]["nearest_proxy_loss"]
        assert "fallback" not in records[f"0.{leaf}"]
    assert "tokens" not in next(record for record in result.records if "q_proj" in record["linear"])


@pytest.mark.parametrize("name", ["awq", "smoothquant", "quip", "quarot+gptq", "magr+gptq", "spinquant"])
def test_an_unseen_expert_survives_every_transform(mixtral: tuple[Path, Path], name: str) -> None:
    from ptqbench.drive.site import quantize_site

    cell = make_cell(*mixtral, quick(name), Grid(8, 32))
    state, _ = with_traffic(cell, 0, {2: 0})
    original = {linear: state.weight(linear).clone() for site in state.sites for linear in site.linears}
    assert original
    cell.transform(state)
    result = QuantizedBlock()
    for site in state.sites:
        quantize_site(state, site, cell.composition, cell.grid, result)
        for linear in site.linears:
            found = result.linears[linear].dequantize()
            assert bool(torch.isfinite(found).all())
            error = proxy_loss(found - state.weight(linear), torch.eye(found.shape[1])).sum()
            assert error < 0.01 * state.weight(linear).square().sum()
