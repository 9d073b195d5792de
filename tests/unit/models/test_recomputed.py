"""Buffers that old checkpoints store are ignored, whatever their name, and no weight is taken for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from layer_kinds import described
from safetensors.torch import load_file
from tiny_models import logits_of, make_model
from traits import IN_A_BLOCK, OUTSIDE, store_buffers
from transformers import PreTrainedModel

from ptqbench.formats.checkpoint import write_model
from ptqbench.models.buffers import rebuild_buffers
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.load import load_model
from ptqbench.models.recomputed import is_recomputed
from ptqbench.models.sight import empty
from ptqbench.models.skeleton import Skeleton

CPU = torch.device("cpu")


@pytest.mark.parametrize("family", described().values())
def test_a_models_buffers_are_no_weights_and_its_weights_no_buffers(tmp_path: Path, family: str) -> None:
    checkpoint = Checkpoint(make_model(tmp_path, family))
    model = load_model(tmp_path, checkpoint.adapter)
    stored = {name for file in tmp_path.rglob("*.safetensors") for name in load_file(file)}
    assert not any(map(is_recomputed, [*stored, *model.state_dict(), *dict(model.named_parameters())]))
    assert all(map(is_recomputed, set(dict(model.named_buffers())) - set(model.state_dict())))


@pytest.mark.parametrize("name", [f"model.layers.3.{name}" for name in IN_A_BLOCK] + list(OUTSIDE))
def test_names_of_old(name: str) -> None:
    assert is_recomputed(name)


@pytest.mark.parametrize("name", ["self_attn.q_proj.bias", "mixer.dt_bias", "attn.c_attn.bias", "position_ids.weight"])
def test_names_of_weights(name: str) -> None:
    assert not is_recomputed(f"model.layers.3.{name}")


def made(checkpoint: Checkpoint) -> Any:
    """A model without weights whose buffers were made here."""
    if checkpoint.adapter.tower is None:
        return Skeleton(checkpoint, CPU, torch.bfloat16).model
    with torch.device("meta"):
        model = empty(checkpoint, torch.bfloat16)
    for part in (part for part in model.children() if isinstance(part, PreTrainedModel)):
        rebuild_buffers(part, part, CPU)
    return model


@pytest.mark.parametrize("family", described().values())
def test_buffers_are_computed_as_transformers_does(tmp_path: Path, family: str) -> None:
    checkpoint = Checkpoint(make_model(tmp_path, family))
    expected = dict(load_model(tmp_path, checkpoint.adapter, dtype=torch.bfloat16).named_buffers())
    found = dict(made(checkpoint).named_buffers())
    assert set(found) == set(expected)
    for name, buffer in expected.items():
        assert torch.equal(found[name], buffer), name
        assert found[name].dtype == buffer.dtype


@pytest.mark.parametrize("family", described().values())
def test_stored_buffers_change_nothing(tmp_path: Path, family: str) -> None:
    plain = Checkpoint(make_model(tmp_path / "model", family))
    before = store_buffers(tmp_path / "model")
    checkpoint = Checkpoint(tmp_path / "model")
    assert set(checkpoint.headers) == set(plain.headers)
    skeleton = Skeleton(checkpoint, CPU, torch.float32)
    for index in range(checkpoint.n_blocks):
        skeleton.block(index, checkpoint.block(index))
    files = write_model(checkpoint, tmp_path / "written", lambda name, tensor: {name: tensor}, None, {}, {})
    written = {name: t for file in files if file.suffix == ".safetensors" for name, t in load_file(file).items()}
    assert set(before) <= set(written)
    assert not any(map(is_recomputed, written))
    models = [
        load_model(tmp_path / name, checkpoint.adapter, dtype=torch.float32).eval() for name in ("model", "written")
    ]
    assert torch.equal(*map(logits_of, models))
