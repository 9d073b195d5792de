"""Checkpoints that somebody else quantized: who reads them, what their config tells, and what their bytes hold.

No torch here, the plan asks too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

from ptqbench.errors import UserError, shown
from ptqbench.models.headers import Header
from ptqbench.models.recomputed import is_recomputed
from ptqbench.schemes import INTEGER

Settings = dict[str, Any]

# `quant_method`s by what loads them; in process the first four are read by ptqbench or by a package of its own
FORMATS = {
    "transformers": ("compressed-tensors", "gptq", "awq", "fp8", "auto-round", "bitsandbytes"),
    "vllm-cuda": (
        *("compressed-tensors", "gptq", "awq", "fp8", "auto-round", "bitsandbytes"),
        *("modelopt", "modelopt_fp4", "mxfp4", "torchao"),
    ),
    "vllm-cpu": ("compressed-tensors", "gptq", "awq"),
}
PACKAGES = {"auto-round": "auto_round", "bitsandbytes": "bitsandbytes"}  # that transformers needs for them
FLOATS = ("F64", "F32", "F16", "BF16")
NUMBERS = {  # of a compression of compressed-tensors
    "nvfp4-pack-quantized": "nvfp4",
    "mxfp4-pack-quantized": "mxfp4",
    "mxfp8-quantized": "mxfp8",
    "float-quantized": "fp8",
}


class Told(NamedTuple):
    """What a ``quantization_config`` says: in ``words``, and as a scheme; ``widths`` are empty where it is silent."""

    words: str
    widths: tuple[int, ...] = ()
    group_size: int | None = None
    number: str | None = None


def formats(backend: str) -> list[str]:
    """The formats that a backend reads, as records name them."""
    return [format_name(name) for name in FORMATS[backend]]


def format_name(quant_method: str) -> str:
    """As records name it."""
    return quant_method.replace("-", "_")


def settings_of(config: Settings, where: str) -> Settings:
    """The ``quantization_config`` of a ``config.json``.

    Raises :class:`UserError` where there is none, or none that names its ``quant_method``.
    """
    found = config.get("quantization_config")
    if not found:
        raise UserError(f"{where} has no quantization_config in its config.json: a float model belongs under models")
    if not isinstance(found, dict) or not isinstance(found.get("quant_method"), str):
        raise UserError(f"{where} has the quantization_config {shown(found)}, which names no quant_method: add it")
    return found


def check_read(quant_method: str, backend: str, where: str, suite: str) -> None:
    """Raise :class:`UserError` where a backend does not load such checkpoints, or this Python lacks the package."""
    if quant_method not in FORMATS[backend]:
        others = [name for name, read in FORMATS.items() if quant_method in read]
        remedy = f"set backend to {' or '.join(others)}, there or for the suite" if others else "leave it out"
        raise UserError(
            f"{where} is quantized by {shown(quant_method)}, which backend '{backend}' of suite '{suite}' does not "
            f"read: {remedy}"
        )
    package = PACKAGES.get(quant_method) if backend == "transformers" else None
    if package and find_spec(package) is None:
        raise UserError(
            f"{where} is quantized by '{quant_method}', for which transformers needs the package {package}, and this "
            f"Python has none: install it, or set backend to vllm for suite '{suite}'"
        )


def told(settings: Settings) -> Told:
    """What a ``quantization_config`` tells of the weights."""
    method, beside = settings["quant_method"], _beside(settings)
    if method == "compressed-tensors":
        found = _compressed(settings)
    elif method == "bitsandbytes":
        four = bool(settings.get("load_in_4bit"))
        found = Told(settings.get("bnb_4bit_quant_type", "fp4") if four else "int8", (4 if four else 8,))
    elif method == "fp8":
        block = settings.get("weight_block_size")
        found = Told("in blocks" if block else "", (8,), block[1] if block else -1, "fp8")
    elif isinstance(settings.get("bits"), int):
        found = Told("", (settings["bits"],), settings.get("group_size"), INTEGER)
    else:
        found = Told("")
    head = f"{method} {found.words}".strip()
    return found._replace(words=", ".join([head, _scheme(found), *beside]))


def _compressed(settings: Settings) -> Told:
    weights = [group["weights"] for group in _groups(settings) if group.get("weights")]
    sizes = {_group_size(one) for one in weights}
    kinds = {NUMBERS.get(settings.get("format", "")) if one.get("type") == "float" else INTEGER for one in weights}
    return Told(
        str(settings.get("format", "")),
        tuple(sorted({one["num_bits"] for one in weights})),
        sizes.pop() if len(sizes) == 1 else None,
        kinds.pop() if len(kinds) == 1 else None,
    )


def _groups(settings: Settings) -> list[Settings]:
    return list((settings.get("config_groups") or {}).values())


def _group_size(weights: Settings) -> int:
    return weights.get("group_size") or (weights.get("block_structure") or [-1])[-1]


def _scheme(found: Told) -> str:
    width = f"{' and '.join(map(str, found.widths))} bits" if found.widths else "bits unknown"
    if found.group_size is None:
        return width
    return f"{width} in groups of {found.group_size}" if found.group_size > 0 else f"{width} per channel"


def _beside(settings: Settings) -> list[str]:
    """What else a config says: how inputs are represented, the order of the groups, the writer, what stays in float."""
    inputs = {one["num_bits"] for group in _groups(settings) if (one := group.get("input_activations"))}
    said = [f"inputs of {bits} bits" for bits in sorted(inputs)]
    said += ["act-order"] if settings.get("desc_act") else []
    made = (settings.get("meta") or {}).get("quantizer") or []
    said += [f"by {' and '.join(made) if isinstance(made, list) else made}"] if made else []
    kept = settings.get("ignore") or settings.get("modules_to_not_convert") or []
    if kept:
        more = f" and {len(kept) - 1} more" if len(kept) > 1 else ""
        said.append(f"{kept[0]}{more} in float")
    return said


def quantized(headers: Mapping[str, Header], floats: Mapping[str, Header]) -> tuple[int, int]:
    """Bytes that a checkpoint holds of quantized weights with all that decodes them, and how many weights those are.

    Quantized is what does not stand there as it does among the model's own ``floats``, whatever the layout; a matrix
    of floats that the model lacks is an untied head.
    """
    kept = {
        name
        for name, one in headers.items()
        if one.dtype in FLOATS and name in floats and one.shape == floats[name].shape
    }
    lost = {name: math.prod(one.shape) for name, one in floats.items() if name not in kept and not is_recomputed(name)}
    stems = {name.rpartition(".")[0] for name in lost}
    stored = 0
    for name, header in headers.items():
        stem, _, part = name.rpartition(".")
        added = part == "weight" and header.dtype in FLOATS and stem not in stems
        if name not in kept and not added and not is_recomputed(name):
            stored += header.nbytes
    return stored, sum(lost.values())
