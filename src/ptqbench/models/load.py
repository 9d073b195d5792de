"""A model folder as a torch module, whatever its family: text alone, or images and text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from ptqbench.models import deepseek  # noqa: F401 (registers its model class)
from ptqbench.models.adapter import Adapter
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.parts import parts
from ptqbench.models.vila import IMAGE_TOKEN, Vila


def load_model(folder: Path, adapter: Adapter, **options: Any) -> Any:
    """``from_pretrained`` of the class that the folder needs, called with ``options``."""
    if parts(folder):
        return Vila.from_pretrained(folder, **options)
    auto = AutoModelForImageTextToText if adapter.text else AutoModelForCausalLM
    return auto.from_pretrained(folder, **options)


def load_whole(checkpoint: Checkpoint, dtype: torch.dtype) -> Any:
    """The model of a checkpoint in memory, to run and not to train."""
    options = {"dtype": dtype, "trust_remote_code": checkpoint.remote}
    return load_model(checkpoint.folder, checkpoint.adapter, **options).eval()


def image_place(model: Any) -> tuple[int, int]:
    """The id that stands for an image's features in a prompt, and how many of them an image has."""
    if isinstance(model, Vila):
        return IMAGE_TOKEN, model.features
    return int(model.config.image_token_index), int(model.config.image_seq_length)


def image_processor(folder: Path) -> Any:
    """What turns images into the tower's pixels; without torchvision, transformers has a slower one of its own."""
    import transformers

    place = folder / "vision_tower" if parts(folder) else folder
    own = place / "preprocessor_config.json"
    settings = json.loads((own if own.is_file() else place / "processor_config.json").read_text(encoding="utf-8"))
    settings = settings.get("image_processor", settings)
    return getattr(transformers, settings["image_processor_type"]).from_dict(settings)
