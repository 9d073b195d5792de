"""What a language model is shown of images: its tower and projector in memory, pixels to features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageTextToText

from ptqbench.models.buffers import rebuild_buffers
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.parts import parts
from ptqbench.models.shown import Shown
from ptqbench.models.vila import IMAGE_TOKEN, Vila


def image_tokens(folder: Path, config: dict[str, Any]) -> tuple[int, int]:
    """The id that stands for an image's features in a prompt, and how many of them an image has; no model is loaded."""
    if parts(folder):
        tower = config["vision_tower_cfg"]
        side = tower["image_size"] // tower["patch_size"]
        return IMAGE_TOKEN, ((side + 1) // 2) ** 2
    found = AutoConfig.from_pretrained(folder)
    return int(found.image_token_index), int(found.image_seq_length)


class Sight:
    """A model of which only the vision tower and the projector are real."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> None:
        tower = checkpoint.adapter.tower
        assert tower is not None
        self.device, self.dtype = device, dtype
        self.token, _ = image_tokens(checkpoint.folder, checkpoint.config)
        with torch.device("meta"):
            self.model: Any = empty(checkpoint, dtype).eval()
        inside = self.model if isinstance(self.model, Vila) else self.model.model
        self.tower: Any = inside.get_submodule(tower.name.rpartition(".")[2])
        rebuild_buffers(self.tower, self.tower, device)
        self._load(self.tower, checkpoint.under(f"{tower.name}."))
        self._load(inside.get_submodule(tower.projector.rpartition(".")[2]), checkpoint.under(f"{tower.projector}."))

    @property
    def blocks(self) -> nn.ModuleList:
        """The tower's blocks."""
        found = self.tower.encoder.layers
        assert isinstance(found, nn.ModuleList)
        return found

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        """``[b, 3, h, w]`` to ``[b, features, d]``, as the language model reads them."""
        pixels = pixels.to(self.device, self.dtype)
        if isinstance(self.model, Vila):
            return self.model.image_features(pixels)
        return torch.stack(list(self.model.get_image_features(pixel_values=pixels).pooler_output))

    def embed(self, item: Shown, words: nn.Module) -> Tensor:
        """Input embeddings ``[b, t, d]``: those of ``words``, and an image's features in its places."""
        ids = item.ids.to(self.device)
        places = ids == self.token
        embeddings = words(ids.masked_fill(places, 0))
        features = self.features(item.pixels).to(embeddings.dtype)
        return embeddings.masked_scatter(places.unsqueeze(-1), features)

    @torch.no_grad()
    def look(self, pixels: Tensor) -> None:
        """Run the tower alone, for whoever watches its blocks."""
        self.tower(pixels.to(self.device, self.dtype))

    def _load(self, module: nn.Module, tensors: dict[str, Tensor]) -> None:
        wanted = module.state_dict()
        named = {name.removeprefix("vision_model."): tensor for name, tensor in tensors.items()}
        real = {name: tensor.to(self.device, self.dtype) for name, tensor in named.items() if name in wanted}
        module.load_state_dict(real, strict=True, assign=True)
        module.requires_grad_(False)


def empty(checkpoint: Checkpoint, dtype: torch.dtype) -> Any:
    """The whole model, images and text, wherever torch makes new tensors."""
    if parts(checkpoint.folder):
        return Vila.from_config(checkpoint.config, dtype)
    config = AutoConfig.from_pretrained(checkpoint.folder)
    return AutoModelForImageTextToText.from_config(config, dtype=dtype)
