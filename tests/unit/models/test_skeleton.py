"""One block at a time gives the same numbers as the whole model, to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import FAMILIES, MIXTURES, make_model, tokens
from torch import Tensor

from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.load import load_model
from ptqbench.models.skeleton import Skeleton
from ptqbench.models.stream import advance, run_block

CPU = torch.device("cpu")


def whole(folder: Path, dtype: torch.dtype, batch: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs and outputs of every block, from one forward pass of the whole model."""
    adapter = Checkpoint(folder).adapter
    model = load_model(folder, adapter, dtype=dtype).eval()
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    is_old = adapter.blocks.startswith("language_model.model")  # a name that checkpoints have and modules have not
    for layer in model.get_submodule("model.language_model.layers" if is_old else adapter.blocks):
        layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        layer.register_forward_hook(lambda _, args, out: outputs.append(out[0] if isinstance(out, tuple) else out))
    with torch.no_grad():
        model(input_ids=batch, use_cache=False)
    return inputs, outputs


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_block_is_that_of_the_whole_model(tmp_path: Path, family: str, dtype: torch.dtype) -> None:
    checkpoint = Checkpoint(make_model(tmp_path, family))
    batch = tokens()
    inputs, outputs = whole(tmp_path, dtype, batch)
    skeleton = Skeleton(checkpoint, CPU, dtype)
    items = skeleton.inputs(batch, batch_size=len(batch))
    assert torch.equal(items[0].hidden, inputs[0])
    for index, expected in enumerate(outputs):
        advance(skeleton.block(index, checkpoint.block(index)), items)
        assert torch.equal(items[0].hidden, expected)
        skeleton.release(index)


def test_batches_do_not_matter(tmp_path: Path) -> None:
    checkpoint = Checkpoint(make_model(tmp_path))
    skeleton = Skeleton(checkpoint, CPU, torch.float32)
    block = skeleton.block(0, checkpoint.block(0))
    parts = [torch.cat(list(run_block(block, skeleton.inputs(tokens(), size)))) for size in (1, 4, 6)]
    for part in parts[1:]:
        torch.testing.assert_close(part, parts[0])


def test_only_the_block_at_work_is_in_memory(tmp_path: Path) -> None:
    checkpoint = Checkpoint(make_model(tmp_path))
    skeleton = Skeleton(checkpoint, CPU, torch.float32)

    def real() -> set[str]:
        parameters = skeleton.model.named_parameters()
        return {name for name, parameter in parameters if not parameter.is_meta}

    assert real() == {"model.embed_tokens.weight"}
    skeleton.block(1, checkpoint.block(1))
    assert {name for name in real() if "layers" in name} == {f"model.layers.1.{name}" for name in checkpoint.block(1)}
    skeleton.release(1)
    assert real() == {"model.embed_tokens.weight"}


def test_other_weights_can_be_run_through_a_block(tmp_path: Path) -> None:
    """What a propagating method does with its quantized weights."""
    checkpoint = Checkpoint(make_model(tmp_path))
    skeleton = Skeleton(checkpoint, CPU, torch.float32)
    items = skeleton.inputs(tokens(), 6)
    silent = {name: torch.zeros_like(tensor) for name, tensor in checkpoint.block(0).items()}
    found = next(iter(run_block(skeleton.block(0, silent), items)))
    assert torch.equal(found, items[0].hidden), "a block of zeros passes its input on"


def test_a_missing_tensor_is_an_error(tmp_path: Path) -> None:
    checkpoint = Checkpoint(make_model(tmp_path))
    tensors = checkpoint.block(0)
    tensors.pop("mlp.up_proj.weight")
    with pytest.raises(RuntimeError, match=r"mlp\.up_proj\.weight"):
        Skeleton(checkpoint, CPU, torch.float32).block(0, tensors)


@pytest.mark.parametrize("family", MIXTURES)
def test_blocks_of_a_mixture_are_those_of_the_whole_model(tmp_path: Path, family: str) -> None:
    checkpoint = Checkpoint(make_model(tmp_path, family))
    _, outputs = whole(tmp_path, torch.float32, tokens())
    skeleton = Skeleton(checkpoint, CPU, torch.float32)
    items = skeleton.inputs(tokens(), batch_size=6)
    for index, expected in enumerate(outputs):
        advance(skeleton.block(index, checkpoint.block(index)), items)
        torch.testing.assert_close(items[0].hidden, expected, rtol=1e-4, atol=1e-5)
        skeleton.release(index)
