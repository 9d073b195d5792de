"""What every family promises: no matrix is forgotten, every method runs, folders come back under the hub's names."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_models import FAMILIES, logits_of, make_cell, make_model, relative, save_with, tokens, write_statistics

from ptqbench.drive.propagate import PropagatedCell
from ptqbench.drive.site import QuantizedBlock
from ptqbench.models.adapter import reason_for_float
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.load import load_model
from ptqbench.models.skeleton import Skeleton
from ptqbench.numbers.grid import Grid

METHODS = yaml.safe_load((Path(__file__).parents[3] / "config.yaml").read_text())["methods"]
CHEAP = {"learned": {"learned": {"epochs": 1}}, "signround": {"signround": {"iterations": 4}}}
NOT_LLAMA = ("mamba", "tied mamba", "mamba2", "llava", "vila")


@pytest.fixture(scope="module", params=NOT_LLAMA)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    path = make_model(folder / "model", request.param)
    return path, write_statistics(path, folder / "statistics")


def cheap(method: dict[str, Any]) -> dict[str, Any]:
    """A method with fewer steps of learning."""
    shortened = {stage: CHEAP.get(value, value) if isinstance(value, str) else value for stage, value in method.items()}
    if shortened.get("transform") == {"rotation": "learned"}:
        shortened["transform"] = {"rotation": {"learned": {"steps": 4}}}
    return shortened


def quantized(cell: PropagatedCell) -> list[QuantizedBlock]:
    with torch.no_grad():
        if not cell.recipe.propagate:
            return [block for block, _ in cell.blocks()]
        skeleton = Skeleton(cell.checkpoint, torch.device("cpu"), torch.float32)
        return [block for block, _ in cell.propagated(skeleton, 3)]


def tensors_of(cell: PropagatedCell, blocks: list[QuantizedBlock]) -> dict[str, torch.Tensor]:
    tensors = {name: cell.checkpoint.tensor(name) for name in cell.checkpoint.headers} | cell.outside().tensors
    for index, block in enumerate(blocks):
        prefix = cell.checkpoint.adapter.prefix(index)
        tensors |= {prefix + name: tensor for name, tensor in block.tensors.items()}
        tensors |= {f"{prefix}{name}.weight": linear.dequantize() for name, linear in block.linears.items()}
    return tensors


@pytest.mark.parametrize("family", FAMILIES)
def test_every_matrix_is_quantized_or_excluded_with_a_reason(tmp_path: Path, family: str) -> None:
    checkpoint = Checkpoint(make_model(tmp_path, family))
    sites = [(b, s) for b in range(checkpoint.n_blocks) for s in checkpoint.adapter.sites(checkpoint.config, b)]
    covered = {f"{checkpoint.adapter.prefix(b)}{linear}.weight" for b, site in sites for linear in site.linears}
    assert covered <= set(checkpoint.headers)
    matrices = {name for name, header in checkpoint.headers.items() if len(header.shape) > 1}
    adapter = checkpoint.adapter
    assert all(reason_for_float(adapter, name) for name in matrices - covered)
    assert not any(reason_for_float(adapter, name) for name in covered) or family == "mamba"
    unused = {pattern for pattern in adapter.excluded if not any(fnmatch(n, pattern) for n in matrices - covered)}
    assert unused == ({"*.mixer.dt_proj.weight"} if family == "mamba" else set()), "an exclusion of nothing"


@pytest.mark.parametrize("name", METHODS)
def test_every_method_at_eight_bits_gives_nearly_the_float_model(
    model: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    cell = make_cell(*model, cheap(METHODS[name]), Grid(8, 32))
    blocks = quantized(cell)
    for index, block in enumerate(blocks):
        sites = cell.checkpoint.adapter.sites(cell.checkpoint.config, index)
        assert set(block.linears) == {linear for site in sites for linear in site.linears}
    saved = save_with(cell, tensors_of(cell, blocks), tmp_path / "saved")
    models = [load_model(folder, cell.checkpoint.adapter, dtype=torch.float32).eval() for folder in (saved, model[0])]
    found, expected = map(logits_of, models)
    assert relative(found, expected) < 0.05


def test_a_folder_comes_back_to_the_bit_under_the_same_names(model: tuple[Path, Path], tmp_path: Path) -> None:
    cell = make_cell(*model, {}, Grid(8, 32))
    saved = Checkpoint(save_with(cell, {n: cell.checkpoint.tensor(n) for n in cell.checkpoint.headers}, tmp_path / "s"))
    assert set(saved.headers) == set(cell.checkpoint.headers)
    for name in saved.headers:
        assert torch.equal(saved.tensor(name), cell.checkpoint.tensor(name))
    models = [load_model(c.folder, c.adapter, dtype=torch.float32).eval() for c in (saved, cell.checkpoint)]
    assert torch.equal(logits_of(models[0]), logits_of(models[1]))


@pytest.mark.parametrize("family", ["llava", "new llava"])
def test_old_and_new_names_of_a_checkpoint(tmp_path: Path, family: str) -> None:
    checkpoint = Checkpoint(make_model(tmp_path, family))
    before = {"llava": "language_model.model.", "new llava": "model.language_model."}[family]
    assert checkpoint.adapter.blocks == f"{before}layers"
    assert any(name.startswith(before) for name in checkpoint.headers)


def test_the_input_of_dt_proj_is_seen(tmp_path: Path) -> None:
    """It is applied as a matrix, not called: the statistics must be those of the first channels of ``x_proj``."""
    checkpoint = Checkpoint(make_model(tmp_path, "mamba"))
    whole = load_model(tmp_path, checkpoint.adapter, dtype=torch.float32).eval()
    seen: list[torch.Tensor] = []
    mixer = whole.backbone.layers[0].mixer
    mixer.x_proj.register_forward_hook(lambda module, args, output: seen.append(output[..., : mixer.time_step_rank]))
    with torch.no_grad():
        whole(input_ids=tokens())
    rows = torch.cat([part.flatten(0, 1) for part in seen])
    cell = make_cell(tmp_path, write_statistics(tmp_path, tmp_path / "statistics"), {}, Grid(8, 32))
    found = cell.state(0).statistics["steps"]
    assert found.tokens == len(rows)
    torch.testing.assert_close(found.hessian, rows.T @ rows / len(rows), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", [{"transform": "salience"}, {"transform": "salience", "rounding": "signround"}])
def test_mambas_scales_that_fold_nowhere_stay_with_their_layers(tmp_path: Path, method: dict[str, Any]) -> None:
    path = make_model(tmp_path / "model", "mamba")
    cell = make_cell(path, write_statistics(path, tmp_path / "statistics"), cheap(method), Grid(3, 32))
    (first, *_) = quantized(cell)
    scaled = {name for name, linear in first.linears.items() if linear.basis.scale is not None}
    assert scaled <= {"mixer.x_proj", "mixer.out_proj"}
    assert scaled
    for name in scaled:
        original = cell.checkpoint.tensor(f"{cell.checkpoint.adapter.prefix(0)}{name}.weight")
        assert relative(first.linears[name].dequantize(), original) < 0.4
