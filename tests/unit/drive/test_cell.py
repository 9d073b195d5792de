"""The drivers: a composition behaves as its parts promise, shared and propagated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_models import make_cell, make_model, tokens, write_statistics
from transformers import AutoModelForCausalLM

from ptqbench.drive.cell import Cell
from ptqbench.drive.site import QuantizedBlock
from ptqbench.linalg.proxy import proxy_loss
from ptqbench.methods.state import BlockState
from ptqbench.methods.transforms import salience
from ptqbench.models.skeleton import Skeleton
from ptqbench.normalize import normalize
from ptqbench.numbers.grid import Grid

GRID = Grid(3, 32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("cell")
    path = make_model(folder / "model")
    return path, write_statistics(path, folder / "statistics")


def shared(model: tuple[Path, Path], method: dict[str, Any], grid: Grid = GRID) -> list[QuantizedBlock]:
    return [block for block, _ in make_cell(*model, method, grid).blocks()]


def propagated(model: tuple[Path, Path], method: dict[str, Any], grid: Grid = GRID) -> list[QuantizedBlock]:
    cell = make_cell(*model, method, grid)
    with torch.no_grad():
        skeleton = Skeleton(cell.checkpoint, torch.device("cpu"), torch.float32)
        return [block for block, _ in cell.propagated(skeleton, 3)]


def loss(blocks: list[QuantizedBlock], key: str = "proxy_loss") -> float:
    return sum(record[key] for block in blocks for record in block.records)


def test_identity_first_stage_gives_gptq_bit_for_bit(model: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_but_identity(state: Any, group: Any, grid: Grid, steps: int, duo: bool) -> Any:
        return torch.ones(state.stacked(group[0]).shape[1]), {}

    monkeypatch.setattr(salience, "search", nothing_but_identity)
    plain = shared(model, {"rounding": "gptq"})
    found = shared(model, {"transform": "salience", "rounding": "gptq"})
    for block, expected in zip(found, plain, strict=True):
        for name, linear in block.linears.items():
            assert torch.equal(linear.codes, expected.linears[name].codes)
            assert torch.equal(linear.scale, expected.linears[name].scale)
            assert torch.equal(linear.zero, expected.linears[name].zero)


@pytest.mark.parametrize(
    "transform", ["salience", "smooth", {"rotation": "hadamard"}, "incoherence", {"rotation": "online"}]
)
def test_compensation_improves_what_came_before_it(model: tuple[Path, Path], transform: Any) -> None:
    alone = shared(model, {"transform": transform})
    combined = shared(model, {"transform": transform, "rounding": "gptq"})
    assert loss(combined) < 0.9 * loss(alone)


def test_nearest_rounding_reports_its_own_loss(model: tuple[Path, Path]) -> None:
    blocks = shared(model, {})
    assert loss(blocks) == pytest.approx(loss(blocks, "nearest_proxy_loss"), rel=1e-4)


def test_salience_proxy_is_in_the_original_basis(model: tuple[Path, Path]) -> None:
    """Rows that a fold divided (v, up) must be multiplied back: 8 bits leave nearly the loss of no transform."""
    fine = Grid(8, 32)
    plain = {r["linear"]: r["proxy_loss"] for b in shared(model, {}, fine) for r in b.records}
    scaled = {r["linear"]: r["proxy_loss"] for b in shared(model, {"transform": "salience"}, fine) for r in b.records}
    for name, value in plain.items():
        assert scaled[name] < 5 * value, name


@pytest.mark.parametrize(
    "method",
    [
        {"rounding": "gptq"},
        {"transform": "salience", "rounding": "gptq"},
        {"transform": {"rotation": "hadamard"}, "rounding": "gptq"},
        {"transform": "incoherence", "rounding": "gptq"},
        {"rounding": "gptaq"},
        {"range": {"learned": {"epochs": 1}}, "rounding": "gptq"},
        {"rounding": {"signround": {"iterations": 4}}},
    ],
    ids=str,
)
def test_propagated_stream_is_the_quantized_model(model: tuple[Path, Path], method: dict[str, Any]) -> None:
    """At 8 bits every propagated method gives nearly the float model: streams, bases and folds are consistent."""
    method = {**method, "propagate": True}
    cell = make_cell(*model, method, Grid(8, 32))
    with torch.no_grad():
        skeleton = Skeleton(cell.checkpoint, torch.device("cpu"), torch.float32)
        blocks = [block for block, _ in cell.propagated(skeleton, 3)]
    tensors = {name: cell.checkpoint.tensor(name).float() for name in cell.checkpoint.headers} | cell.outside().tensors
    for index, block in enumerate(blocks):
        prefix = cell.checkpoint.adapter.prefix(index)
        tensors |= {prefix + name: tensor for name, tensor in block.tensors.items()}
        tensors |= {f"{prefix}{name}.weight": linear.dequantize() for name, linear in block.linears.items()}
    original = AutoModelForCausalLM.from_pretrained(model[0], dtype=torch.float32).eval()
    with torch.no_grad():
        expected = original(input_ids=tokens()).logits
        original.load_state_dict(tensors)
        found = original(input_ids=tokens()).logits
    assert ((found - expected).norm() / expected.norm()).item() < 0.02


METHODS = yaml.safe_load((Path(__file__).parents[3] / "config.yaml").read_text())["methods"]
OWN = {name: method for name, method in METHODS.items() if not normalize(name, method).reads_statistics}
FAST = {"learned": {"epochs": 1}, "signround": {"iterations": 2}}


@pytest.mark.parametrize("name", OWN)
def test_what_reads_no_statistics_needs_none(model: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    method = {key: {part: FAST[part]} if (part := str(value)) in FAST else value for key, value in OWN[name].items()}
    assert len(propagated((model[0], tmp_path / "none"), method)) == 2


def test_what_reads_statistics() -> None:
    assert {"gptaq", "omniquant", "autoround", "gptq-propagated"} <= set(OWN)
    assert not set(OWN) & {"gptq", "awq", "quip", "spinquant"}
    learned = {"transform": {"rotation": "learned"}, "rounding": "gptq", "propagate": True}
    assert normalize("learned", learned).reads_statistics, "before any block is quantized"


def test_propagation_sees_the_quantized_prefix(model: tuple[Path, Path]) -> None:
    coarse = Grid(2, 32)
    one, other = (
        propagated(model, {"rounding": "gptq", "propagate": True}, coarse),
        shared(model, {"rounding": "gptq"}, coarse),
    )
    first = [name for name in one[0].linears if "q_proj" in name]
    assert all(torch.equal(one[0].linears[n].codes, other[0].linears[n].codes) for n in first), "same float input"
    assert any(not torch.equal(one[1].linears[n].codes, other[1].linears[n].codes) for n in one[1].linears)


@pytest.mark.parametrize("name", ["rtn", "gptq", "awq", "quip", "quarot+gptq", "spinquant", "awq+gptq", "magr+gptq"])
def test_cached_statistics_need_no_forward_pass(
    model: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config = yaml.safe_load((Path(__file__).parents[3] / "config.yaml").read_text())

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a module was called")

    monkeypatch.setattr(torch.nn.Module, "__call__", refuse)
    assert len(shared(model, config["methods"][name])) == 2


def test_losses_taken_in_a_rotated_basis_are_those_of_the_linears(model: tuple[Path, Path]) -> None:
    method = {"transform": "incoherence", "range": "rms", "rounding": "ldlq"}
    cell = make_cell(*model, method, Grid(2, 32, half_integer=True))
    block, _ = next(iter(cell.blocks()))
    state = cell.state(0)
    of_site = {linear: site.name for site in state.sites for linear in site.linears}
    for record in block.records:
        linear = record["linear"].removeprefix("0.")
        delta = state.weight(linear) - block.linears[linear].dequantize()
        expected = proxy_loss(delta.double(), state.statistics[of_site[linear]].hessian.double()).sum().item()
        assert record["proxy_loss"] == pytest.approx(expected, rel=1e-4)
    assert len(block.records) == len(of_site)


@pytest.mark.parametrize("rounding", ["gptq", "ldlq"])
def test_a_block_with_a_hessian_that_cannot_be_factored_is_rounded_again(
    model: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, rounding: str
) -> None:
    """Factors are used before anyone has looked whether they are sound; the ladder then sees the same problems."""
    transform = Cell.transform

    def spoilt(self: Cell, state: BlockState) -> list[dict[str, Any]]:
        if state.index == 1:
            hessian = state.statistics["mlp"].hessian
            hessian.diagonal().sub_(2 * torch.linalg.eigvalsh(hessian).min() + 0.02 * hessian.diagonal().mean())
        return transform(self, state)

    whole = shared(model, {"rounding": rounding})
    monkeypatch.setattr(Cell, "transform", spoilt)
    found = shared(model, {"rounding": rounding})
    climbed = {record["linear"] for block in found for record in block.records if record["cholesky_attempts"] > 1}
    assert climbed == {f"1.{linear}" for linear in ("mlp.gate_proj", "mlp.up_proj")}
    for name, linear in found[1].linears.items():
        assert torch.equal(linear.codes, whole[1].linears[name].codes) == (f"1.{name}" not in climbed)
