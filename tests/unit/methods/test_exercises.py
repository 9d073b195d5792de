"""One new thing is one file: members that are written here are planned, checked and run like any other."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import make_cell, make_model, write_statistics

import ptqbench.methods.ranges
import ptqbench.methods.rounding
import ptqbench.methods.transforms
import ptqbench.numbers.formats
from ptqbench import members
from ptqbench.artifacts.linear import QuantizedLinear
from ptqbench.errors import UserError
from ptqbench.models.skeleton import Skeleton
from ptqbench.normalize import normalize
from ptqbench.numbers.grid import Grid, scheme_grid
from ptqbench.schemes import filled

HEAD = """
from dataclasses import dataclass
from typing import ClassVar
import torch
from torch import Tensor
from ptqbench.methods.contracts import BlockTransform, Learner, Range, Rounding, parameter
from ptqbench.methods.fold import fold_scale
from ptqbench.methods.problem import Rounded, nearest
from ptqbench.methods.trained import Trained
from ptqbench.methods.training.descent import on_grid, total_loss
from ptqbench.kernels.fake import soft_grid
from ptqbench.numbers.grid import Grid

"""
EXERCISES = {
    "rounding/half": '''
@dataclass(frozen=True)
class Half(Rounding):
    """Nearest rounding, whose record has a parameter."""

    share: float = parameter(0.5, minimum=0, maximum=1)

    def round_site(self, problem):
        found = nearest(problem)
        return Rounded(found.codes, found.scale, found.zero, {"share": self.share})
''',
    "transforms/doubled": '''
@dataclass(frozen=True)
class Doubled(BlockTransform):
    """Inputs of every site halved, weights doubled."""

    STRATEGY: ClassVar = "salience"

    def apply(self, state, grid):
        for site in state.sites:
            if site.producer is not None and site.producer.kind == "norm":
                fold_scale(state, site, torch.full_like(state.statistics[site.name].mean_abs, 2.0))
        return [{"site": "all"}]
''',
    "ranges/drawn": '''
@dataclass(frozen=True)
class Drawn(Learner):
    """The better of two ranges, by the loss of the block's output."""

    STRATEGY: ClassVar = "optimization"
    PROPAGATES: ClassVar = True

    factor: float = parameter(0.9, minimum=0.5, maximum=1)

    def learn(self, block, start, inputs, targets, grid):
        losses = {}
        for factor in (1.0, self.factor):
            ends = [torch.cat([factor * pair[side].flatten() for pair in start.ends.values()]) for side in (0, 1)]
            weights = on_grid(start.weights, soft_grid(*ends, grid), grid, start.bases)
            losses[factor] = total_loss(block, weights, inputs, targets)
        best = min(losses, key=losses.__getitem__)
        bounds = {name: (best * low, best * high) for name, (low, high) in start.ends.items()}
        return Trained(bounds, record={"factor": best})
''',
}
NUMBER = '''
"""E3M2 in groups of 16 whose scales are powers of two."""

from dataclasses import dataclass
from typing import ClassVar

from ptqbench.numbers.elements import E3M2, Element
from ptqbench.numbers.powers import PowerGrid

BITS = 6
GROUP_SIZE = 16
SCALE_BITS = 8


@dataclass(frozen=True)
class Wide6(PowerGrid):
    """6.5 bits a weight."""

    NUMBER: ClassVar = "wide6"
    ELEMENT: ClassVar[Element] = E3M2

    bits: int = BITS
    group_size: int = GROUP_SIZE
'''
ROOMS = (ptqbench.methods.ranges, ptqbench.methods.rounding, ptqbench.methods.transforms, ptqbench.numbers.formats)


def documented() -> str:
    """The range that docs/methods.md writes as an example."""
    text = Path(__file__).parents[3].joinpath("docs/methods.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(@dataclass.*?)```", text, re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package with a file more for each exercise."""
    for room in ROOMS:
        folder = tmp_path.joinpath(*room.__name__.split(".")[1:])
        shutil.copytree(Path(str(room.__file__)).parent, folder)
        monkeypatch.setattr(room, "__path__", [*room.__path__, str(folder)])
    for name, source in {**EXERCISES, "ranges/quantile": documented()}.items():
        (tmp_path / f"methods/{name}.py").write_text(HEAD + source)
    (tmp_path / "numbers/formats/wide6.py").write_text(NUMBER)
    shutil.copytree(members.PACKAGE / "models/adapters", tmp_path / "models/adapters")
    monkeypatch.setattr(members, "PACKAGE", tmp_path)
    members.members.cache_clear()
    yield
    members.members.cache_clear()


METHODS: dict[str, dict[str, Any]] = {
    "a rounding": {"rounding": {"half": {"share": 0.25}}},
    "a transform": {"transform": ["doubled", "incoherence"], "rounding": "gptq"},
    "a range": {"range": {"quantile": {"share": 0.0}}, "rounding": "gptq"},
    "a learned range": {"transform": "incoherence", "range": {"drawn": {"factor": 0.8}}, "rounding": "gptq"},
}


@torch.no_grad()
def test_each_is_one_file(package: None, tmp_path: Path) -> None:
    path = make_model(tmp_path / "model")
    statistics = write_statistics(path, tmp_path / "statistics")
    for name, method in METHODS.items():
        cell = make_cell(path, statistics, method, Grid(8, 32))
        skeleton = Skeleton(cell.checkpoint, torch.device("cpu"), torch.float32)
        blocks = cell.propagated(skeleton, 3) if cell.recipe.propagate else cell.blocks()
        records = [record for block, _ in blocks for record in block.records]
        assert min(record["snr_db"] for record in records) > 42, name
    assert normalize("m", METHODS["a learned range"]).strategy == [
        "compensation",
        "rotation",
        "optimization",
    ]
    with pytest.raises(UserError, match=r"methods\.m\.rounding\.half\.share"):
        normalize("m", {"rounding": {"half": {"share": 2}}})


@torch.no_grad()
def test_a_number_format_is_one_file(package: None, tmp_path: Path) -> None:
    path = make_model(tmp_path / "model")
    statistics = write_statistics(path, tmp_path / "statistics")
    method = {"transform": "salience", "range": "search", "rounding": "gptq"}
    grid = scheme_grid(filled({"number": "wide6"}), normalize("m", method).as_json())
    (block, _), *_ = make_cell(path, statistics, method, grid).blocks()
    assert min(record["snr_db"] for record in block.records) > 25
    again = {
        name: QuantizedLinear.from_state(linear.state("q"), "q", "attention") for name, linear in block.linears.items()
    }
    for name, linear in block.linears.items():
        assert torch.equal(again[name].dequantize(), linear.dequantize())
        assert linear.own_bits == 6.5 * linear.codes.numel()
