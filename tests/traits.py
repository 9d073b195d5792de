"""Models as they really are: tiny ones of every described family, with the traits that checkpoints differ in.

A case is a family, its kind of layers, and a value of each trait. CI runs few, which hold every pair of values that two
traits can have together; a soak runs every case.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations, product
from pathlib import Path
from typing import Any

import torch
from layer_kinds import kinds
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, HIDDEN, MIXTURES, SEEING, make_model
from tokenizers_of_old import FORMS
from transformers import AutoConfig
from transformers.models.auto.tokenization_auto import (
    MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS,
    TOKENIZER_MAPPING_NAMES,
)

from ptqbench.models.adapter import adapter_name
from ptqbench.models.checkpoint import Checkpoint

VOCABULARY = 300
IN_A_BLOCK = {
    "self_attn.rotary_emb.inv_freq": torch.ones(8),  # Llama-2-7b-hf and everything of its time
    "self_attn.rotary_emb.cos_cached": torch.ones(1, 1, 64, 16),
    "self_attn.bias": torch.ones(1, 1, 64, 64).bool(),  # GPT-2's mask, under the names that its heirs gave it
    "attn.masked_bias": torch.tensor(-1e4),
    "attention.bias": torch.ones(1, 1, 64, 64).bool(),
    "attn.attention.masked_bias": torch.tensor(-1e9),
}
OUTSIDE = {
    "model.rotary_emb.inv_freq": torch.ones(8),
    "vision_tower.vision_model.embeddings.position_ids": torch.arange(5)[None],
    "model.embeddings.position_ids": torch.arange(5)[None],
    "model.rotary_emb.sliding_attention_inv_freq": torch.ones(8),
}
BIASES = ("attention_bias", "mlp_bias", "use_bias")  # where a family's config has them
TOKENIZERS = tuple(form for form in FORMS if form != "sentencepiece")  # whose library not every environment has

Case = dict[str, Any]


def cases() -> list[Case]:
    """Every case: ``family``, ``layers`` (changes of the config), and the traits that the family has."""
    found = []
    for family, layers in kinds():
        traits = traits_of(family)
        window = "window" if layers else "none"
        mixed = len(set(layers.get("layer_types", ()))) > 1 or "max_window_layers" in layers
        for values in product(*traits.values()):
            kind = "mixed" if mixed else window
            found.append({"family": family, "layers": layers, "kind": kind, **dict(zip(traits, values, strict=True))})
    return found


def traits_of(family: str) -> dict[str, tuple[Any, ...]]:
    """The values that each trait can have in a family."""
    both = (False, True)
    traits: dict[str, tuple[Any, ...]] = {"buffers": both, "shards": both}
    if family in SEEING:
        return traits | {"tokenizer": ("fast",)}  # theirs knows the image's token
    config = AutoConfig.for_model(**({"hidden_size": HIDDEN, "num_attention_heads": 4} | (FAMILIES | MIXTURES)[family]))
    traits |= {"tokenizer": tokenizers(config.model_type), "tied": both}
    if hasattr(config, "num_key_value_heads") and family != "deepseek_v2":  # its heads have one latent
        traits["grouped"] = both
    if any(hasattr(config, key) for key in BIASES):
        traits["biases"] = both
    return traits


def tokenizers(model_type: str) -> tuple[str, ...]:
    """The forms that transformers loads beside such a model: some types have one class, whatever a checkpoint names."""
    if TOKENIZER_MAPPING_NAMES.get(model_type) == "TokenizersBackend":
        return ("fast", "own_code")
    forced = model_type in MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS
    return tuple(form for form in TOKENIZERS if not (forced and form == "bert"))


def few(found: list[Case]) -> list[Case]:
    """A case of each adapter, and as many more as it takes until every pair of values that there is is in one."""
    missing = set().union(*map(pairs, found))
    chosen: list[Case] = []
    for adapter in dict.fromkeys(map(adapter_of, found)):
        own = [case for case in found if adapter_of(case) == adapter]
        chosen.append(max(own, key=lambda case: len(pairs(case) & missing)))
        missing -= pairs(chosen[-1])
    while missing:
        chosen.append(max(found, key=lambda case: len(pairs(case) & missing)))
        missing -= pairs(chosen[-1])
    return chosen


def adapter_of(case: Case) -> str:
    """The file that describes a case's family."""
    return adapter_name({"model_type": (FAMILIES | MIXTURES)[case["family"]]["model_type"]}, "")


def pairs(case: Case) -> set[Any]:
    """Every two of a case's values, the family's not among them."""
    values = [(key, str(value)) for key, value in case.items() if key not in ("family", "layers")]
    return set(combinations(values, 2))


def named(case: Case) -> str:
    """A case in a few words."""
    flags = [key for key in ("buffers", "shards", "tied", "grouped", "biases") if case.get(key)]
    types = "".join(own[0] for own in case["layers"].get("layer_types", ()))
    return "-".join([case["family"].replace(" ", ""), case["kind"] + types, case["tokenizer"], *flags])


def write(case: Case, folder: Path) -> Path:
    """The model folder of a case."""
    family = case["family"]
    changes = dict(case["layers"])
    if family not in SEEING:
        changes |= {"tie_word_embeddings": case["tied"]}
    if "grouped" in case:
        changes["num_key_value_heads"] = 2 if case["grouped"] else 4
    if case.get("biases"):
        settings = {"hidden_size": HIDDEN, "num_attention_heads": 4} | (FAMILIES | MIXTURES)[family]
        changes |= {key: True for key in BIASES if hasattr(AutoConfig.for_model(**settings), key)}
    make_model(folder, family, torch.bfloat16, vocabulary=VOCABULARY, **changes)
    if case["buffers"]:
        store_buffers(folder)
    if case["shards"]:
        shard(folder)
    if family not in SEEING:
        FORMS[case["tokenizer"]](folder)
    return folder


def weights_file(folder: Path) -> Path:
    """The file of the language model's weights."""
    return next(place for place in (folder / "llm/model.safetensors", folder / "model.safetensors") if place.is_file())


def store_buffers(folder: Path) -> dict[str, torch.Tensor]:
    """Store the buffers of old in a checkpoint; returns what it held before."""
    checkpoint, file = Checkpoint(folder), weights_file(folder)
    before, part = load_file(file), "llm." if file.parent.name == "llm" else ""
    prefixes = [checkpoint.adapter.prefix(index).removeprefix(part) for index in range(checkpoint.n_blocks)]
    own = {f"{prefix}{name}": tensor.clone() for prefix in prefixes for name, tensor in IN_A_BLOCK.items()}
    save_file(before | own | {name: tensor.clone() for name, tensor in OUTSIDE.items()}, file, {"format": "pt"})
    return before


def shard(folder: Path, count: int = 3) -> None:
    """The one file as several, with their index."""
    file = weights_file(folder)
    tensors = load_file(file)
    file.unlink()
    names, places = sorted(tensors), {}
    for part, own in enumerate(_cut(names, count)):
        name = f"model-{part + 1:05d}-of-{count:05d}.safetensors"
        save_file({key: tensors[key] for key in own}, file.parent / name, {"format": "pt"})
        places |= dict.fromkeys(own, name)
    index = {"metadata": {}, "weight_map": places}
    (file.parent / "model.safetensors.index.json").write_text(json.dumps(index))


def _cut(names: list[str], count: int) -> Iterator[list[str]]:
    size = -(-len(names) // count)
    yield from (names[part * size : (part + 1) * size] for part in range(count))
