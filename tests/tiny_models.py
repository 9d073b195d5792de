"""Tiny random models of every family of decoders, and what the tests do with them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tiny_images
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from ptqbench.drive.cell import Cell
from ptqbench.drive.propagate import PropagatedCell
from ptqbench.formats.checkpoint import write_model
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.collect import watching
from ptqbench.models.experts import make_watchable
from ptqbench.models.load import image_place, load_model
from ptqbench.models.shown import Shown
from ptqbench.models.sight import image_tokens
from ptqbench.models.skeleton import Skeleton
from ptqbench.models.stream import advance
from ptqbench.models.vila import Vila
from ptqbench.normalize import normalize
from ptqbench.numbers.grid import Grid
from ptqbench.pocket import vision

VOCAB, HIDDEN = 97, 64
STATISTICS = ("hessian", "magnitude", "moments")
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "head_dim": 16},
    "tied": {"model_type": "llama", "head_dim": 16, "tie_word_embeddings": True},
    "mistral": {"model_type": "mistral", "head_dim": 16},
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3", "head_dim": 32},
    "granite": {
        "model_type": "granite",
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.5,
        "logits_scaling": 2.0,
    },
    "smollm3": {"model_type": "smollm3", "pad_token_id": 0},
    "seed_oss": {"model_type": "seed_oss", "head_dim": 16},
    "ministral3": {"model_type": "ministral3", "head_dim": 16},
    "ernie4_5": {"model_type": "ernie4_5", "head_dim": 16},
    "gemma": {"model_type": "gemma", "head_dim": 16},
    "gemma2": {"model_type": "gemma2", "head_dim": 16},
    "gemma3_text": {"model_type": "gemma3_text", "head_dim": 16},
    "olmo2": {"model_type": "olmo2"},
    "olmo3": {"model_type": "olmo3"},
    "exaone4": {"model_type": "exaone4", "head_dim": 16},
    "phi3": {"model_type": "phi3", "pad_token_id": 0},
    "glm": {"model_type": "glm", "head_dim": 16, "pad_token_id": 0},
    "glm4": {"model_type": "glm4", "head_dim": 16, "pad_token_id": 0},
    "cohere": {"model_type": "cohere"},
    "cohere2": {"model_type": "cohere2", "head_dim": 16},
    "stablelm": {"model_type": "stablelm"},
    "starcoder2": {"model_type": "starcoder2"},
    "opt": {"model_type": "opt", "ffn_dim": 128, "word_embed_proj_dim": 64, "num_key_value_heads": 4},
    "mamba": {"model_type": "mamba", "state_size": 8, "time_step_rank": 128},
    "tied mamba": {"model_type": "mamba", "state_size": 8, "time_step_rank": 16, "tie_word_embeddings": True},
    "mamba2": {
        "model_type": "mamba2",
        "state_size": 16,
        "num_heads": 4,
        "head_dim": 32,
        "n_groups": 1,
        "chunk_size": 8,
    },
    "llava": {"model_type": "llava"},
    "new llava": {"model_type": "llava"},
    "vila": {"model_type": "llava_llama"},
}
SEEING = ("llava", "new llava", "vila")
MIXTURES: dict[str, dict[str, Any]] = {
    "mixtral": {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16},
    "deepseek": {
        "model_type": "deepseek",
        "moe_intermediate_size": 64,
        "n_routed_experts": 6,
        "n_shared_experts": 2,
        "num_experts_per_tok": 3,
        "first_k_dense_replace": 1,
    },
    "deepseek_v2": {
        "model_type": "deepseek_v2",
        "moe_intermediate_size": 64,
        "n_routed_experts": 6,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
        "num_key_value_heads": 4,
        "q_lora_rank": 64,
        "kv_lora_rank": 32,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 32,
    },
    "qwen2_moe": {
        "model_type": "qwen2_moe",
        "moe_intermediate_size": 64,
        "shared_expert_intermediate_size": 64,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "mlp_only_layers": [0],
    },
    "olmoe": {"model_type": "olmoe", "num_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {
        "model_type": "qwen3_moe",
        "moe_intermediate_size": 64,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "head_dim": 32,
    },
}


def make_model(
    folder: Path,
    family: str = "llama",
    dtype: torch.dtype = torch.float32,
    vocabulary: int = VOCAB,
    tower: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """Save a random two-block model with grouped-query attention, norms away from one and biases away from zero.

    ``tower`` changes the vision tower's config; norms and biases of such a one are away from one and zero as well.
    """
    torch.manual_seed(1)
    shape = {"hidden_size": HIDDEN, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": vocabulary}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
    settings = {"tie_word_embeddings": False, **shape, **heads, **(FAMILIES | MIXTURES)[family], **changes}
    model: Any
    if family in SEEING:
        tokenizer = tiny_images.tokenizer(("<image>",))
        model = vision.build(tiny_images.settings(settings["model_type"], tower), tokenizer)
    else:
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings), dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if ("vision_tower" in name and (tower is None or parameter.dim() > 1)) or name.endswith(
            ("A_log", "dt_bias", "dt_proj.bias")
        ):
            continue
        if parameter.dim() == 1:
            near = 0.0 if name.endswith("bias") else 1.0
            parameter.data = near + 0.3 * torch.randn_like(parameter)
        else:
            parameter.data = parameter.data * (1 if "mixer" in name else 3)
    model.to(dtype)
    if family in SEEING:
        vision.save(model, tokenizer, folder)
    else:
        model.save_pretrained(folder)
    if family == "new llava":
        model.save_pretrained(folder, save_original_format=False)
    return folder


def tokens(samples: int = 6, length: int = 24) -> Tensor:
    """Random token ids ``[samples, length]``."""
    return torch.randint(0, VOCAB, (samples, length), generator=torch.Generator().manual_seed(2))


def pictures(checkpoint: Checkpoint) -> list[Shown]:
    """A calibration set of images: :func:`tokens` in two lengths, an image in every sequence."""
    (place, count), ids = image_tokens(checkpoint.folder, checkpoint.config), tokens()
    ids[:, 2 : 2 + count] = place
    pixels = torch.from_numpy(tiny_images.noise(len(ids), seed=5))
    return [Shown(ids[:2, :-3], pixels[:2]), Shown(ids[2:], pixels[2:])]


def write_statistics(model: Path, folder: Path, vision_tower: bool = False, remote: bool = False) -> Path:
    """The statistics pass over :func:`tokens`, or :func:`pictures` with a ``vision_tower``, as the stage writes it."""
    checkpoint = Checkpoint(model, vision_tower, remote)
    skeleton = Skeleton(checkpoint, torch.device("cpu"), torch.float32)
    folder.mkdir(parents=True, exist_ok=True)
    for span, inputs in skeleton.segments(pictures(checkpoint) if vision_tower else tokens(), 4):
        for index in span:
            block = skeleton.block(index, checkpoint.block(index))
            with watching(block, checkpoint.adapter.sites(checkpoint.config, index), STATISTICS) as found:
                advance(block, inputs)
            tensors = {key: value for name, site in found.items() for key, value in site.finish(name).items()}
            save_file(tensors, folder / f"block-{index:03d}.safetensors")
    return folder


def make_cell(
    model: Path, statistics: Path, method: dict[str, Any], grid: Grid, vision_tower: bool = False
) -> PropagatedCell:
    """A prepared cell of a method."""
    checkpoint, device = Checkpoint(model, vision_tower), torch.device("cpu")
    calibration = pictures(checkpoint) if vision_tower else tokens()
    cell = PropagatedCell(checkpoint, normalize("test", method), grid, statistics, device, calibration)
    cell.prepare()
    return cell


def transformed_tensors(cell: Cell) -> dict[str, Tensor]:
    """The whole float model after a cell's transforms, by checkpoint name, in float32."""
    tensors = {name: cell.checkpoint.tensor(name).float() for name in cell.checkpoint.headers}
    tensors |= cell.outside().tensors
    for index in range(cell.n_blocks):
        state = cell.state(index)
        cell.transform(state)
        prefix = cell.checkpoint.adapter.prefix(index)
        tensors |= {prefix + name: tensor for name, tensor in state.tensors.items()}
    return tensors


def save_with(cell: Cell, tensors: dict[str, Tensor], folder: Path) -> Path:
    """The cell's model with other weights, written under the hub's names as they are, in their dtypes."""
    added = {name: tensor for name, tensor in tensors.items() if name not in cell.checkpoint.headers}
    config = cell.outside().config
    write_model(cell.checkpoint, folder, lambda name, _: {name: tensors[name]}, None, added, config)
    return folder


def logits(cell: Cell, tensors: dict[str, Tensor]) -> Tensor:
    """Logits of the model with these weights on :func:`inputs`, computed in float64."""
    with TemporaryDirectory() as folder:
        saved = save_with(cell, {name: tensor.double() for name, tensor in tensors.items()}, Path(folder))
        options = {"dtype": torch.float64, "output_loading_info": True}
        model, told = load_model(saved, cell.checkpoint.adapter, **options)
    make_watchable(model)  # the fused kernel of experts knows no float64
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    return logits_of(model.eval())


def inputs(model: Any) -> dict[str, Any]:
    """What a model is called on: :func:`tokens`, with an image in every sequence if it sees."""
    ids = tokens()
    if not isinstance(model, Vila) and not hasattr(model.config, "vision_config"):
        return {"input_ids": ids}
    place, features = image_place(model)
    ids[:, 2 : 2 + features] = place
    pixels = torch.from_numpy(tiny_images.noise(len(ids)))
    return {"input_ids": ids, "pixel_values": pixels.to(next(model.parameters()).dtype)}


def relative(found: Tensor, expected: Tensor) -> float:
    """``‖found - expected‖ / ‖expected‖``."""
    return ((found - expected).norm() / expected.norm()).item()


@torch.no_grad()
def logits_of(model: Any) -> Tensor:
    """Logits on :func:`inputs`."""
    return model(**inputs(model)).logits
