"""VILA-1.5 (arXiv 2312.07533) in its own checkpoint layout, which transformers has no class for.

The folder holds ``config.json`` and three models: ``llm/`` (a causal language model and its tokenizer),
``vision_tower/`` (SigLIP) and ``mm_projector/`` (``mlp_downsample``). An image's place in a prompt is a run of
:data:`IMAGE_TOKEN`, one per feature; these ids are in no vocabulary.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from ptqbench.models.files import weight_files
from ptqbench.models.headers import read_config

IMAGE_TOKEN = -200
MODEL_TYPE = "llava_llama"


def neighbours(features: Tensor) -> Tensor:
    """Concatenate 2 × 2 neighbours of a square grid on channels: ``[b, side², c]`` to ``[b, ⌈side/2⌉², 4c]``.

    Odd grids are padded with zeros at their ends. Within a token the order is (row, column) of the four; tokens run
    down the columns of the halved grid, one column after the other.
    """
    count, side, width = len(features), int(features.shape[1] ** 0.5), features.shape[2]
    grid = F.pad(features.view(count, side, side, width), (0, 0, 0, side % 2, 0, side % 2))
    half = (side + 1) // 2
    cells = grid.view(count, half, 2, half, 2, width)
    return cells.permute(0, 3, 1, 2, 4, 5).reshape(count, half * half, 4 * width)


class DownsampleProjector(nn.Module):
    """``mlp_downsample``: neighbours, LayerNorm, Linear, GELU, Linear; its numbering is the checkpoint's."""

    def __init__(self, vision_width: int, text_width: int) -> None:
        super().__init__()
        wide = 4 * vision_width
        self.layers = nn.Sequential(
            nn.Identity(), nn.LayerNorm(wide), nn.Linear(wide, text_width), nn.GELU(), nn.Linear(text_width, text_width)
        )

    def forward(self, features: Tensor) -> Tensor:
        """``[b, side², c]`` to ``[b, ⌈side/2⌉², d]``."""
        return self.layers(neighbours(features))


class Vila(nn.Module):
    """Tower, projector and language model; called as transformers' LLaVA is."""

    llm: Any
    vision_tower: Any

    def __init__(self, config: dict[str, Any], llm: Any, tower: Any) -> None:
        super().__init__()
        projector = config["mm_projector_cfg"].get("mm_projector_type")
        if projector != "mlp_downsample":
            raise ValueError(f"mm_projector_type is '{projector}': only mlp_downsample is known")
        self.settings = config
        self.llm, self.vision_tower = llm, tower
        self.mm_projector = DownsampleProjector(tower.config.hidden_size, llm.config.hidden_size)

    @property
    def config(self) -> Any:
        """The language model's config."""
        return self.llm.config

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype

    @property
    def features(self) -> int:
        """Features of one image."""
        side = self.vision_tower.config.image_size // self.vision_tower.config.patch_size
        return ((side + 1) // 2) ** 2

    def image_features(self, pixels: Tensor) -> Tensor:
        """``[b, 3, h, w]`` to ``[b, features, d]``; SigLIP has no class token to drop."""
        found = self.vision_tower(pixels, output_hidden_states=True).hidden_states
        return self.mm_projector(found[self.settings["mm_vision_select_layer"]])

    def embed(self, input_ids: Tensor, pixel_values: Tensor | None) -> Tensor:
        """Input embeddings ``[b, t, d]``, the images' features in the places of :data:`IMAGE_TOKEN`."""
        places = input_ids == IMAGE_TOKEN
        embeddings = self.llm.get_input_embeddings()(input_ids.masked_fill(places, 0))
        if pixel_values is None:
            return embeddings
        features = self.image_features(pixel_values.to(embeddings.dtype)).to(embeddings.dtype)
        return embeddings.masked_scatter(places.unsqueeze(-1), features)

    def forward(self, input_ids: Tensor, pixel_values: Tensor | None = None, **kwargs: Any) -> Any:
        """The language model's output on text with images."""
        return self.llm(inputs_embeds=self.embed(input_ids, pixel_values), **kwargs)

    @classmethod
    def from_config(cls, config: dict[str, Any], dtype: torch.dtype = torch.float32) -> Vila:
        """A model with random weights; ``llm_cfg`` and ``vision_tower_cfg`` hold the whole configs of their parts."""
        llm = AutoModelForCausalLM.from_config(part_config(config["llm_cfg"]), dtype=dtype)
        tower = AutoModel.from_config(part_config(config["vision_tower_cfg"]), dtype=dtype)
        model = cls(config, llm, tower)
        model.mm_projector.to(dtype)
        return model

    @classmethod
    def from_pretrained(
        cls, folder: Path, dtype: torch.dtype = torch.float32, output_loading_info: bool = False, **options: Any
    ) -> Any:
        """Read a VILA folder; ``options`` and what is told of loading are the language model's."""
        config = read_config(folder, str(folder))
        llm, told = AutoModelForCausalLM.from_pretrained(
            folder / "llm", dtype=dtype, output_loading_info=True, **options
        )
        tower = AutoModel.from_pretrained(folder / "vision_tower", dtype=dtype)
        model = cls(config, llm, tower)
        model.mm_projector.to(dtype)  # not the whole: rotary frequencies stay in float32
        files = weight_files(folder / "mm_projector", str(folder))
        model.mm_projector.load_state_dict({key: t for file in files for key, t in load_file(file).items()})
        return (model, told) if output_loading_info else model

    def save_pretrained(self, folder: Path) -> None:
        """Write a VILA folder under the names that its hub checkpoints have."""
        self.llm.save_pretrained(folder / "llm")
        self.vision_tower.save_pretrained(folder / "vision_tower")
        under_vision_model(folder / "vision_tower" / "model.safetensors", "")
        projector = folder / "mm_projector"
        projector.mkdir(exist_ok=True)
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.mm_projector.state_dict().items()}
        save_file(tensors, projector / "model.safetensors", {"format": "pt"})
        kinds = {"architectures": ["MultimodalProjector"], "model_type": "v2l_projector"}
        write_config(projector, kinds | self.settings["mm_projector_cfg"])
        write_config(folder, {"architectures": ["LlavaLlamaModel"], "model_type": MODEL_TYPE} | self.settings)


def part_config(settings: dict[str, Any]) -> Any:
    """transformers' config of one part."""
    known = {key: value for key, value in settings.items() if key != "model_type"}
    return AutoConfig.for_model(settings["model_type"], **known)


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """``config.json`` of a folder."""
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def under_vision_model(file: Path, prefix: str) -> None:
    """Give a tower's tensors the ``vision_model.`` level that hub checkpoints have and transformers 5 drops."""
    level = f"{prefix}vision_model."
    tensors = {
        f"{level}{name.removeprefix(prefix)}" if name.startswith(prefix) and not name.startswith(level) else name: value
        for name, value in load_file(file).items()
    }
    save_file(tensors, file, {"format": "pt"})
