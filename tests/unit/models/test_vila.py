"""VILA's projector on a grid made by hand, its layout, and images in their places."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_images
import torch
from safetensors.torch import load_file
from transformers import SiglipVisionModel

from ptqbench.models.vila import IMAGE_TOKEN, DownsampleProjector, Vila, neighbours
from ptqbench.pocket.vision import build


def model() -> Vila:
    torch.manual_seed(0)
    return build(tiny_images.settings("llava_llama"), tiny_images.tokenizer()).eval()


def test_neighbours_of_an_even_grid() -> None:
    grid = torch.arange(16).view(1, 16, 1)  # row-major: 0 1 2 3 / 4 5 6 7 / …
    expected = [[0, 1, 4, 5], [8, 9, 12, 13], [2, 3, 6, 7], [10, 11, 14, 15]]
    assert neighbours(grid)[0].tolist() == expected


def test_neighbours_of_an_odd_grid_are_padded_with_zeros() -> None:
    grid = torch.arange(1, 10).view(1, 9, 1)  # 1 2 3 / 4 5 6 / 7 8 9
    assert neighbours(grid)[0].tolist() == [[1, 2, 4, 5], [7, 8, 0, 0], [3, 0, 6, 0], [9, 0, 0, 0]]


def test_channels_of_one_place_stay_together() -> None:
    grid = torch.stack([torch.arange(4), 10 * torch.arange(4)], -1).unsqueeze(0)
    assert neighbours(grid)[0].tolist() == [[0, 0, 1, 10, 2, 20, 3, 30]]


def test_the_projector_has_the_checkpoints_names() -> None:
    names = {f"layers.{index}.{kind}" for index in (1, 2, 4) for kind in ("weight", "bias")}
    assert set(DownsampleProjector(8, 16).state_dict()) == names
    assert DownsampleProjector(8, 16)(torch.zeros(2, 27 * 27, 8)).shape == (2, 14 * 14, 16)


def test_a_folder_comes_back_to_the_bit_under_the_hubs_names(tmp_path: Path) -> None:
    saved = model()
    saved.save_pretrained(tmp_path)
    loaded = Vila.from_pretrained(tmp_path).eval()
    for (name, value), (other, found) in zip(saved.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(value, found)
    assert all(name.startswith("vision_model.") for name in load_file(tmp_path / "vision_tower" / "model.safetensors"))
    assert "model.layers.0.self_attn.q_proj.weight" in load_file(tmp_path / "llm" / "model.safetensors")


def test_images_take_their_places_and_text_keeps_its_own() -> None:
    vila = model()
    pixels = torch.from_numpy(tiny_images.noise(2))
    ids = torch.tensor([[7, *[IMAGE_TOKEN] * vila.features, 8, 9], [7, 8, *[IMAGE_TOKEN] * vila.features, 9]])
    found = vila.embed(ids, pixels)
    features = vila.mm_projector(vila.vision_tower(pixels, output_hidden_states=True).hidden_states[-2])
    words = vila.llm.get_input_embeddings()
    assert torch.equal(found[0, 1:-2], features[0])
    assert torch.equal(found[1, 2:-1], features[1])
    assert torch.equal(found[:, -1], words(torch.tensor([9, 9])))
    logits = vila(input_ids=ids, pixel_values=pixels).logits
    assert not torch.equal(logits[0, -1], vila(input_ids=ids, pixel_values=-pixels).logits[0, -1])


def test_the_tower_alone_is_siglip(tmp_path: Path) -> None:
    saved = model()
    saved.save_pretrained(tmp_path)
    pixels = torch.from_numpy(tiny_images.noise(1))
    tower = SiglipVisionModel.from_pretrained(tmp_path / "vision_tower").eval()
    assert torch.equal(tower(pixels).last_hidden_state, saved.vision_tower(pixels).last_hidden_state)


def test_another_projector_is_refused() -> None:
    config = {"mm_projector_cfg": {"mm_projector_type": "linear"}}
    with pytest.raises(ValueError, match="mm_projector_type is 'linear'"):
        Vila(config, None, None)
