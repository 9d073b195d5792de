"""A model folder's config and tensor headers, read without torch and without touching a weight."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any, NamedTuple

from ptqbench.errors import UserError
from ptqbench.models.files import weight_files
from ptqbench.models.parts import PARTS, parts, places
from ptqbench.models.settings import check_settings
from ptqbench.outside import check_file, parse_object, read_object, shown

IN_PARTS = "llava_llama"  # the model_type of those that are stored so
LARGEST = 2**48  # bytes, or elements along an axis
HEADER_BYTES = 100_000_000  # the limit of the safetensors library
# bits of an element, by safetensors' name of its dtype
BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}


class Header(NamedTuple):
    """Where a tensor is and what it looks like (dtype in safetensors' spelling, e.g. ``BF16``).

    ``part`` is the folder in which the file lies and, with a dot, what the tensor's name begins with outside the file.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    part: str = ""

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor."""
        return math.prod(self.shape) * BITS[self.dtype] // 8


def read_config(folder: Path, where: str) -> dict[str, Any]:
    """The folder's ``config.json``, its counts checked; ``where`` names the config key in error messages."""
    if not folder.is_dir():
        raise UserError(f"{where}: there is no folder {folder}: give a path that exists, or a hub id with a revision")
    config = _read_config(folder, where)
    inside = parts(folder)
    if (inside or config.get("model_type") == IN_PARTS) and (lost := [part for part in PARTS if part not in inside]):
        raise UserError(f"{where}: {folder / lost[0]} has no config.json: fetch the model again, all of its parts")
    for part in inside:
        config[f"{part}_cfg"] = _read_config(folder / part, where)
    return config


def model_type(folder: Path, where: str) -> str:
    """What the folder's config says that it is, in transformers' names."""
    return str(read_config(folder, where).get("model_type"))


def read_headers(folder: Path, where: str) -> dict[str, Header]:
    """Tensor name to header over every file of the model; files that are not whole are refused by name."""
    found: dict[str, Header] = {}
    for part in places(folder):
        for file in weight_files(folder / part, where):
            for name, header in _headers(file, where).items():
                name = f"{part}.{name}" if part else name
                if name in found:
                    raise UserError(
                        f"{where}: {file} and {found[name].file.name} both have {shown(name)}: fetch the model again"
                    )
                found[name] = header._replace(part=part)
    return found


def _read_config(folder: Path, where: str) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.exists() and not file.is_symlink():
        raise UserError(f"{where}: {folder} has no config.json: it is not a model folder")
    config = read_object(file, where)
    check_settings(config, f"{where}: {file}")
    return config


def _headers(file: Path, where: str) -> dict[str, Header]:
    size = check_file(file, where).st_size
    with open(file, "rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length + 8 > size:
            raise UserError(f"{where}: {file} is truncated ({size} bytes): fetch it again")
        if length > HEADER_BYTES:
            raise UserError(f"{where}: {file} has a header of {length} bytes, which none has: fetch it again")
        content = stream.read(length)
    entries = parse_object(content, f"{where}: the header of {file}")
    entries.pop("__metadata__", None)
    spans = sorted((*_span(entry, f"{where}: {file} says that {shown(name)}"), name) for name, entry in entries.items())
    end = 0
    for first, last, name in spans:
        if first != end:
            raise UserError(f"{where}: {file} has a gap or overlap before {shown(name)}: fetch it again")
        end = last
    if length + 8 + end != size:
        raise UserError(f"{where}: {file} has {size} bytes instead of {length + 8 + end}: fetch it again")
    return {name: Header(file, entry["dtype"], tuple(entry["shape"])) for name, entry in entries.items()}


def _span(entry: Any, what: str) -> tuple[int, int]:
    """Where a tensor's bytes begin and end, after all that its entry says is found to be possible."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise UserError(f"{what} is {shown(entry)}, not dtype, shape and data_offsets: fetch it again")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise UserError(f"{what} has dtype {shown(dtype)}, which there is not: fetch it again")
    if not _sizes(shape) or not _sizes(offsets) or len(offsets) != 2:
        raise UserError(
            f"{what} has shape {shown(shape)} at {shown(offsets)}, not sizes and two offsets: fetch it again"
        )
    if (offsets[1] - offsets[0]) * 8 != math.prod(shape) * BITS[dtype]:
        raise UserError(f"{what} has shape {shown(shape)} at {shown(offsets)}, which differ in bytes: fetch it again")
    return offsets[0], offsets[1]


def _sizes(value: Any) -> bool:
    """Whether a value is a list of a tensor's sizes or places."""
    return isinstance(value, list) and all(type(size) is int and 0 <= size < LARGEST for size in value)
