"""A model folder as a torch module, whatever its family: text alone, or images and text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from ptqbench.models.adapter import Adapter
from ptqbench.models.headers import parts
from ptqbench.models.vila import Vila


def load_model(folder: Path, adapter: Adapter, **options: Any) -> Any:
    """``from_pretrained`` of the class that the folder needs, called with ``options``."""
    if parts(folder):
        return Vila.from_pretrained(folder, **options)
    auto = AutoModelForImageTextToText if adapter.text else AutoModelForCausalLM
    return auto.from_pretrained(folder, **options)


def text_folder(folder: Path) -> Path:
    """Where the tokenizer and the language model's config are."""
    return folder / parts(folder)[0] if parts(folder) else folder
