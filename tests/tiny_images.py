"""Images of one colour, questions about them, and the smallest models that see."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from ptqbench.data.images import Item
from ptqbench.pocket.corpus import train_tokenizer

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
SIDE = 16


def png(colour: tuple[int, int, int], side: int = SIDE) -> bytes:
    """A square of one colour, encoded."""
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(stream, "PNG")
    return stream.getvalue()


def items() -> list[Item]:
    """Two questions on each of three images."""
    images = {name: png(colour) for name, colour in COLOURS.items()}
    asked = [Item(image, "what color is it?", (name,)) for name, image in images.items()]
    return asked + [Item(image, "is it red?", ("yes" if name == "red" else "no",)) for name, image in images.items()]


def tokenizer(special: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """A tokenizer that knows the words of the questions."""
    text = ["USER: what color is it? is it red? Answer the question using a single word. ASSISTANT: yes no green blue"]
    return train_tokenizer(text * 20, 300, 64, special)


def settings(kind: str, tower: dict[str, Any] | None = None) -> dict[str, Any]:
    """The ``model`` part of a recipe: ``llava`` or ``llava_llama``, a tower of two blocks, a Llama of two."""
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {"image_size": SIDE, "patch_size": 4}
    extra = {"llava": {"model_type": "clip_vision_model", "projection_dim": 16}}.get(
        kind, {"model_type": "siglip_vision_model", "vision_use_head": False}
    )
    text = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 16}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}
    return {
        "model_type": kind,
        "vision": vision | extra | (tower or {}),
        "text": text | heads | {"tie_word_embeddings": False},
    }


def noise(count: int, seed: int = 0) -> np.ndarray:
    """Random pixels float32 ``[count, 3, SIDE, SIDE]``."""
    return np.random.default_rng(seed).normal(size=(count, 3, SIDE, SIDE)).astype(np.float32)
