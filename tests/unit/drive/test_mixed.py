"""Costs and options of mixed widths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import make_cell, make_model, write_statistics

from ptqbench.artifacts.linear import QuantizedLinear, packed_bytes
from ptqbench.checks import check_mixed
from ptqbench.drive.mixed import choose_widths, site_options, uniform_cost
from ptqbench.drive.site import QuantizedBlock
from ptqbench.errors import UserError
from ptqbench.linalg.basis import Basis
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.load import load_model
from ptqbench.normalize import normalize
from ptqbench.numbers.grid import Grid
from ptqbench.schemes import check_scheme


def test_a_uniform_cell_between_two_widths_costs_what_lies_between() -> None:
    items = [[(20, 0.0), (30, 0.0), (40, 0.0)], [(200, 0.0), (300, 0.0), (400, 0.0)]]
    assert uniform_cost(items, [2, 3, 4], 2) == 220
    assert uniform_cost(items, [2, 3, 4], 3) == 330
    assert uniform_cost(items, [2, 3, 4], 2.5) == 275
    assert uniform_cost([[(20, 0.0), (40, 0.0)]], [2, 4], 3) == 30


def test_options_are_sums_over_a_site() -> None:
    linear = QuantizedLinear(torch.zeros(4, 8, dtype=torch.uint8), torch.ones(4, 1), torch.zeros(4, 1), 2, True)
    names = {"self_attn.q": 1.0, "self_attn.k": 0.5, "mlp": 2.0}
    sites = {"self_attn.q": "attention", "self_attn.k": "attention", "mlp": "mlp"}
    records = [{"linear": f"3.{name}", "site": sites[name], "proxy_loss": loss} for name, loss in names.items()]
    block = QuantizedBlock(linears=dict.fromkeys(names, linear), records=records)
    cost = 8 * packed_bytes([linear])
    assert site_options(block) == {"attention": (2 * cost, 1.5), "mlp": (cost, 2.0)}
    linear.basis = Basis(torch.ones(8))
    assert site_options(block) == {"attention": (2 * cost + 16 * 8, 1.5), "mlp": (cost + 16 * 8, 2.0)}


@pytest.mark.parametrize(
    ("scheme", "words"),
    [
        ({"bits": "mixed", "choices": [2, 3]}, "lacks the key 'budget'"),
        ({"bits": "mixed", "budget": 2.5}, "lacks the key 'choices'"),
        ({"bits": 3, "budget": 2.5}, "budget is 2.5, which"),
        ({"bits": "mixed", "choices": [2, 3], "budget": 3.5}, "choose one between its choices, 2 and 3"),
    ],
)
def test_schemes_that_make_no_sense_are_refused(scheme: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=f"config: schemes.s.*{words}"):
        check_scheme("s", scheme)


def test_a_method_that_propagates_has_one_width() -> None:
    with pytest.raises(UserError, match=r"schemes\.s\.bits is 'mixed', and method 'm' propagates"):
        check_mixed("s", "m", normalize("m", {"rounding": "gptq", "propagate": True}))
    check_mixed("s", "m", normalize("m", {"rounding": "gptq"}))


@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe"])
def test_every_expert_has_widths_of_its_own(tmp_path: Path, family: str) -> None:
    path = make_model(tmp_path / "model", family)
    statistics = write_statistics(path, tmp_path / "statistics")
    model = load_model(path, Checkpoint(path).adapter, dtype=torch.float32).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    cell = make_cell(path, statistics, {}, Grid(4, 32))
    with torch.no_grad():
        cell.widths = choose_widths(cell, model, [2, 3, 4], 3.4)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), f"{name}: rounding one site after another leaves the model as it was"
    sites = {(i, site.name) for i in range(2) for site in cell.state(i).sites if site.linears}
    assert set(cell.widths) == sites
    experts = {place: bits for place, bits in cell.widths.items() if "." in place[1]}
    assert len(experts) >= 8
    assert len(set(experts.values())) > 1, "and they are not all alike"

    sizes = {}
    for bits in (2, 3):
        uniform = make_cell(path, statistics, {}, Grid(bits, 32))
        sizes[bits] = sum(packed_bytes(site) for block, _ in uniform.blocks() for site in block.sites().values())
    taken = 0
    for index, (block, _) in enumerate(cell.blocks()):
        for site, linears in block.sites().items():
            assert {linear.bits for linear in linears} == {cell.widths[index, site]}
            taken += packed_bytes(linears)
    wanted = sizes[2] + 1.4 * (sizes[3] - sizes[2])
    assert 0.97 * wanted < taken <= wanted
