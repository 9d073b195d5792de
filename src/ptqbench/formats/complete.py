"""What a checkpoint lacks: vLLM serves a packed linear whose scale is missing as if nothing were wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptqbench.models.files import INDEX, shards
from ptqbench.models.headers import read_config, read_headers

BYTES = ("I8", "F8_E4M3")  # dtypes of a packed ``weight``
PARTS = {  # of compressed-tensors' formats whose parts do not depend on zero-points
    "int-quantized": {"weight", "weight_scale"},
    "float-quantized": {"weight", "weight_scale"},
    "mxfp8-quantized": {"weight", "weight_scale"},
    "mxfp4-pack-quantized": {"weight_packed", "weight_scale"},
    "nvfp4-pack-quantized": {"weight_packed", "weight_scale", "weight_global_scale"},
}


def lacking(folder: Path) -> list[str]:
    """Tensors that the index names or that a packed linear needs, and that are not there."""
    where = f"checkpoint {folder}"
    headers = read_headers(folder, where)
    index = folder / INDEX
    needed = set(shards(index, where)) if index.is_file() else set()
    settings = read_config(folder, where).get("quantization_config")
    parts = packed_parts(settings)
    if not (settings or {}).get("desc_act") and not any(name.endswith(".g_idx") for name in headers):
        parts = parts - {"g_idx"}  # others leave out what is in runs
    for name, header in headers.items():
        linear, _, part = name.rpartition(".")
        if part in parts and (part != "weight" or header.dtype in BYTES):
            needed |= {f"{linear}.{other}" for other in parts}
    return sorted((needed | stored_transforms(settings)) - set(headers))


def stored_transforms(settings: dict[str, Any] | None) -> set[str]:
    """The matrices that a ``transform_config`` reads; a server without one computes with whatever was in memory."""
    groups = ((settings or {}).get("transform_config") or {}).get("config_groups", {})
    stored = {name: group for name, group in groups.items() if group["type"] != "hadamard"}
    return {f"{group['apply'][0]['targets'][0]}.{name}_input.weight" for name, group in stored.items()}


def packed_parts(settings: dict[str, Any] | None) -> set[str]:
    """The tensors of every packed linear, by the last part of their names."""
    method = (settings or {}).get("quant_method")
    if settings is None or method not in ("gptq", "awq", "compressed-tensors"):
        return set()
    if method != "compressed-tensors":
        return {"qweight", "qzeros", "scales"} | ({"g_idx"} if method == "gptq" else set())
    if settings["format"] in PARTS:
        return PARTS[settings["format"]]
    weights = [group.get("weights") for group in settings["config_groups"].values()]
    if settings["format"] != "pack-quantized" or not all(weights):  # others mix compressions
        return set()
    symmetric = all(one["symmetric"] for one in weights)
    return {"weight_packed", "weight_scale", "weight_shape"} | (set() if symmetric else {"weight_zero_point"})
