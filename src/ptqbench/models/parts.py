"""Folders of a model that is stored in parts, as VILA is."""

from __future__ import annotations

from pathlib import Path

PARTS = ("llm", "vision_tower", "mm_projector")


def parts(folder: Path) -> list[str]:
    """The sub-folders that hold the weights of a model stored in parts; none for others."""
    return [part for part in PARTS if (folder / part / "config.json").is_file()]


def places(folder: Path) -> list[str]:
    """The folders that hold weights, relative to the model's: its parts, or itself."""
    return parts(folder) or [""]


def text_folder(folder: Path) -> Path:
    """Where the tokenizer and the language model's config are."""
    return folder / parts(folder)[0] if parts(folder) else folder
