"""A language model calibrated on images reads what the whole model reads, block after block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_images
import torch
from tiny_models import SEEING, make_model, pictures
from torch import Tensor

from ptqbench.data.images import decode
from ptqbench.data.pairs import Pair
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.load import image_place, image_processor, load_model
from ptqbench.models.shown import Shown, batches, shown
from ptqbench.models.sight import image_tokens
from ptqbench.models.skeleton import Skeleton
from ptqbench.models.stream import advance
from ptqbench.models.vila import Vila

CPU = torch.device("cpu")
TOWER = {"hidden_size": 32, "intermediate_size": 128}


@pytest.fixture(scope="module", params=SEEING)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp(request.param), request.param, tower=TOWER)


def outputs(model: Any, item: Shown) -> tuple[list[Tensor], list[Tensor]]:
    """What the blocks of the tower and of the language model give, from a forward pass of the whole model."""
    inside = model if isinstance(model, Vila) else model.model
    text = model.llm.model.layers if isinstance(model, Vila) else inside.language_model.layers
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for layers, kept in zip((inside.vision_tower.encoder.layers, text), found, strict=True):
        for layer in layers:
            layer.register_forward_hook(lambda _, args, out, kept=kept: kept.append(out))
    with torch.no_grad():
        model(input_ids=item.ids, pixel_values=item.pixels, use_cache=False)
    return found


def test_the_place_of_an_image_is_known_without_the_model(folder: Path) -> None:
    checkpoint = Checkpoint(folder)
    assert image_tokens(folder, checkpoint.config) == image_place(load_model(folder, checkpoint.adapter))


@pytest.mark.parametrize("vision_tower", [False, True])
def test_every_block_is_that_of_the_whole_model(folder: Path, vision_tower: bool) -> None:
    checkpoint = Checkpoint(folder, vision_tower)
    item = pictures(checkpoint)[1]
    tower, text = outputs(load_model(folder, checkpoint.adapter, dtype=torch.float32).eval(), item)
    expected = [*tower, *text] if vision_tower else text
    skeleton = Skeleton(checkpoint, CPU, torch.float32)
    reached = 0
    for span, items in skeleton.segments([item], batch_size=len(item.ids)):
        for index in span:
            advance(skeleton.block(index, checkpoint.block(index)), items)
            assert torch.equal(items[0].hidden, expected[index])
            skeleton.release(index)
            reached += 1
    assert reached == len(expected) == checkpoint.n_blocks


def test_what_the_tower_was_last_given_is_what_later_images_pass_through(folder: Path) -> None:
    checkpoint = Checkpoint(folder, vision_tower=True)
    item, skeleton = pictures(checkpoint)[1], Skeleton(checkpoint, CPU, torch.float32)
    before = skeleton.inputs([item], 4)[0].hidden
    silent = {name: torch.zeros_like(tensor) for name, tensor in checkpoint.block(0).items()}
    skeleton.block(0, silent)
    skeleton.release(0)
    after = skeleton.inputs([item], 4)[0].hidden
    token, _ = image_tokens(folder, checkpoint.config)
    places = item.ids == token
    assert torch.equal(before[~places], after[~places])
    assert not torch.equal(before[places], after[places])


def test_batches_keep_lengths_apart_and_nothing_is_lost(folder: Path) -> None:
    checkpoint = Checkpoint(folder)
    calibration = pictures(checkpoint)
    assert [len(part.ids) for part in batches(calibration, 3)] == [2, 3, 1]
    skeleton = Skeleton(checkpoint, CPU, torch.float32)
    items = skeleton.inputs(calibration, 3)
    assert sum(item.hidden.shape[0] * item.hidden.shape[1] for item in items) == sum(p.ids.numel() for p in calibration)
    whole = skeleton.inputs(calibration, 8)
    torch.testing.assert_close(torch.cat([items[1].hidden, items[2].hidden]), whole[1].hidden)


def test_pairs_are_shown_through_the_models_own_processor(folder: Path) -> None:
    item = tiny_images.items()[0]
    pairs = [Pair(n, item.image, "q", "a", [1] * length) for n, length in enumerate((5, 3, 5))]
    processor = image_processor(folder)
    found = shown(pairs, processor)
    assert [part.ids.shape for part in found] == [(1, 3), (2, 5)]
    expected = processor([decode(item.image)], return_tensors="pt")["pixel_values"]
    assert torch.equal(found[1].pixels, expected.expand(2, -1, -1, -1))


def test_only_tower_and_projector_are_in_memory(folder: Path) -> None:
    skeleton = Skeleton(Checkpoint(folder), CPU, torch.float32)
    real = {name for name, parameter in skeleton.sight.model.named_parameters() if not parameter.is_meta}
    assert real
    assert all("vision_tower" in name or "projector" in name for name in real)
