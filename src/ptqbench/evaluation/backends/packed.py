"""Packed language models in process, decompressed where the model will be, whoever packed them.

transformers decompresses on the host, and is not asked where that takes longer than all the rest. Mixtures it cannot
read at all: it fuses experts and forgets the zero-points of packed ones. Activations of 8 bits are computed here as the
checkpoint says: every linear that is quantized rounds its inputs, token by token.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME

from ptqbench.errors import UserError
from ptqbench.formats import decompress, unpacked
from ptqbench.formats.complete import lacking
from ptqbench.models.adapter import Adapter
from ptqbench.models.buffers import rebuild_buffers
from ptqbench.models.experts import fill, make_watchable, runtime, slice_of
from ptqbench.models.headers import read_headers
from ptqbench.numbers.elements import E4M3

LAYOUTS = ("gptq", "awq", "fp8")  # of others, and of ours for servers

Represent = Callable[[Tensor], Tensor]


def is_packed_mixture(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether a checkpoint holds packed experts of the compressed-tensors format."""
    if settings.get("quant_method") != "compressed-tensors":
        return False
    return any(slice_of(name.rpartition(".")[0]) for name in read_headers(folder, f"checkpoint {folder}"))


def is_read_here(folder: Path, settings: dict[str, Any], adapter: Adapter) -> bool:
    """Whether :func:`load` reads a checkpoint: mixtures, and other language models without transforms at run time.

    What others wrote in a way that is not described here is transformers' own to load. Raises :class:`UserError` where
    that cannot: mixtures, and what it needs further packages for.
    """
    mixture, method = is_packed_mixture(folder, settings), settings.get("quant_method")
    if method in LAYOUTS:
        why = unpacked.refuses(settings) if not adapter.text else f"{method} of a model with images"
    elif method == "compressed-tensors":
        why = decompress.refuses(settings)
    else:
        return False
    if why and (mixture or method in LAYOUTS):
        raise UserError(f"the checkpoint {folder} has {why}, which transformers does not load: set backend to vllm")
    return why is None and (mixture or not (settings.get("transform_config") or adapter.text))


def represented(settings: dict[str, Any]) -> Represent | None:
    """How quantized linears read their inputs; None: as they are."""
    if settings["quant_method"] == "fp8":
        return partial(fp8, group_size=settings["weight_block_size"][1])
    if settings["quant_method"] != "compressed-tensors":
        return None
    inputs = next(iter(settings["config_groups"].values())).get("input_activations")
    if not inputs:
        return None
    return int8_per_token if inputs["type"] == "int" else partial(fp8, group_size=inputs.get("group_size") or -1)


def load(
    folder: Path, config: Any, settings: dict[str, Any], dtype: torch.dtype, remote: bool, device: torch.device
) -> Any:
    """The model of ``folder`` with its quantized weights, and activations, as the checkpoint's ``settings`` say.

    Weights are made on the ``device``, none of them twice, and no other model is initialized first.
    Raises :class:`UserError` where a tensor is missing.
    """
    if missing := lacking(folder):
        raise UserError(f"the checkpoint {folder} lacks the tensor {missing[0]}: export or fetch it again")
    mixture, packed = is_packed_mixture(folder, settings), []
    del config.quantization_config
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=remote)
    rebuild_buffers(model, model, device)

    known = set(model.state_dict())

    def tensors() -> Any:
        # experts as packed kernels multiply, in the scales' dtype; others as transformers does, in the model's
        read = unpacked.dense if settings["quant_method"] in LAYOUTS else decompress.dense
        for name, tensor, was_packed in read(folder, settings, device, None if mixture else dtype):
            if name.endswith(".bias") and runtime(name) not in known and not tensor.any():
                continue  # some write zeros for a bias that the model has not
            packed.extend([name.removesuffix(".weight")] if was_packed else [])
            yield name, tensor

    fill(model, tensors(), device, dtype)
    if (folder / GENERATION_CONFIG_NAME).is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    if represent := represented(settings):
        quantize_inputs(model, packed, represent)
    return model


def quantize_inputs(model: nn.Module, linears: list[str], represent: Represent) -> None:
    """Let the quantized linears (checkpoint names) read their inputs as ``represent`` makes them."""

    def read(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (represent(args[0]), *args[1:])

    make_watchable(model)
    for linear in linears:
        place = slice_of(linear)
        if place is None:
            model.get_submodule(runtime(linear)).register_forward_pre_hook(read)
        else:
            model.get_submodule(place.module).represent = represent  # type: ignore[assignment]


def int8_per_token(x: Tensor) -> Tensor:
    """Symmetric int8 per token: ``round(x / s) s`` with ``s = max|x| / 127.5``, as compressed-tensors defines it.

    The largest of a token is at a tie: in another order of operations its code may be another.
    """
    scale = x.abs().amax(-1, keepdim=True) / 127.5
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    return (x / scale).round().clamp(-128, 127) * scale


def fp8(x: Tensor, group_size: int) -> Tensor:
    """E4M3 per token, or per ``group_size`` of its channels: the nearest to ``x / s``, times ``s = max|x| / 448``."""
    groups = x.unflatten(-1, (-1, x.shape[-1] if group_size == -1 else group_size)).float()
    scale = groups.abs().amax(-1, keepdim=True) / E4M3.largest
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    return ((groups / scale).to(torch.float8_e4m3fn).float() * scale).flatten(-2).to(x.dtype)
