"""Packed mixtures of experts in process: transformers fuses experts, and forgets the zero-points of packed ones.

Weights are decompressed here, and int8 activations, which nothing runs inside fused experts, are computed as the
checkpoint says: every linear that is quantized rounds its inputs, token by token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from ptqbench.errors import UserError
from ptqbench.formats.complete import lacking
from ptqbench.formats.decompress import dense
from ptqbench.models.experts import fuse, make_watchable, runtime, slice_of
from ptqbench.models.headers import read_headers


def is_packed_mixture(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether a checkpoint holds packed experts of the compressed-tensors format."""
    if settings.get("quant_method") != "compressed-tensors":
        return False
    return any(slice_of(name.rpartition(".")[0]) for name in read_headers(folder, f"checkpoint {folder}"))


def load(folder: Path, config: Any, settings: dict[str, Any], dtype: torch.dtype, remote: bool) -> Any:
    """The model of ``folder`` with its quantized weights, and activations, as the checkpoint's ``settings`` say."""
    if missing := lacking(folder):
        raise UserError(f"the checkpoint {folder} lacks the tensor {missing[0]}: export it again")
    tensors, packed = {}, []
    for name, tensor, was_packed in dense(folder, settings):
        tensors[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor
        packed += [name.removesuffix(".weight")] if was_packed else []
    del config.quantization_config
    model: nn.Module = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=remote)
    model.load_state_dict(tied(model, fuse(tensors)))
    if any(group["input_activations"] for group in settings["config_groups"].values()):
        quantize_inputs(model, packed)
    return model


def tied(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """``tensors`` with a head that is the embedding, where the model's is."""
    head, embedding = model.get_output_embeddings().weight, model.get_input_embeddings().weight  # type: ignore[operator]
    same = {"lm_head.weight": tensors["model.embed_tokens.weight"]} if head is embedding else {}
    return same | tensors


def quantize_inputs(model: nn.Module, linears: list[str]) -> None:
    """Let the quantized linears (checkpoint names) read their inputs as int8 per token."""
    make_watchable(model)
    for linear in linears:
        place = slice_of(linear)
        if place is None:
            model.get_submodule(runtime(linear)).register_forward_pre_hook(_read_as_int8)
        else:
            model.get_submodule(place.module).represent = int8_per_token  # type: ignore[assignment]


def int8_per_token(x: Tensor) -> Tensor:
    """Symmetric int8 per token: ``round(x / s) s`` with ``s = 2 max|x| / 255``, as compressed-tensors defines it."""
    scale = (2 / 255) * x.abs().amax(-1, keepdim=True)
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    return (x / scale).round().clamp(-128, 127) * scale


def _read_as_int8(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (int8_per_token(args[0]), *args[1:])
