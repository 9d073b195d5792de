"""A model folder's config and tensor headers, read without torch and without touching a weight."""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from pathlib import Path
from typing import Any, NamedTuple

from ptqbench.errors import UserError

PARTS = ("llm", "vision_tower", "mm_projector")  # folders of a model that is stored in parts, as VILA is


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
        """Bytes of the tensor; its dtype's name holds how many bits an entry has (``BOOL``: a byte)."""
        bits = re.search(r"\d+", self.dtype)
        return math.prod(self.shape) * (int(bits.group()) if bits else 8) // 8


def read_config(folder: Path, where: str) -> dict[str, Any]:
    """The folder's ``config.json``; ``where`` names the config key in error messages."""
    file = folder / "config.json"
    if not folder.is_dir():
        raise UserError(f"{where}: there is no folder {folder}: give a path that exists, or a hub id with a revision")
    if not file.is_file():
        raise UserError(f"{where}: {folder} has no config.json: it is not a model folder")
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: {file} is not JSON: {error}") from None
    for part in parts(folder):
        config[f"{part}_cfg"] = json.loads((folder / part / "config.json").read_text(encoding="utf-8"))
    return config


def model_type(folder: Path, where: str) -> str:
    """What the folder's config says that it is, in transformers' names."""
    return str(read_config(folder, where).get("model_type"))


def parts(folder: Path) -> list[str]:
    """The sub-folders that hold the weights of a model stored in parts; none for others."""
    return [part for part in PARTS if (folder / part / "config.json").is_file()]


def read_headers(folder: Path, where: str) -> dict[str, Header]:
    """Tensor name to header over every ``*.safetensors`` shard; truncated shards are refused by name."""
    found = {}
    for part in parts(folder) or [""]:
        shards = sorted((folder / part).glob("*.safetensors"))
        if not shards:
            place = folder / part
            raise UserError(f"{where}: {place} has no *.safetensors weights: download them, or convert .bin files")
        for shard in shards:
            for name, header in _shard_headers(shard, where).items():
                found[f"{part}.{name}" if part else name] = header._replace(part=part)
    return found


def sampled_digests(folder: Path) -> dict[str, str]:
    """File name to :func:`digest` for the files that make a model."""
    files = sorted(path for part in ["", *parts(folder)] for path in (folder / part).iterdir())
    kinds = (".safetensors", ".json", ".model", ".txt")
    return {file.relative_to(folder).as_posix(): digest(file) for file in files if file.suffix in kinds}


def digest(file: Path, whole: int = 1 << 26, samples: int = 16, width: int = 1 << 16) -> str:
    """12 hex digits of a file's size and content; of evenly spaced chunks where it has more than ``whole`` bytes."""
    size = file.stat().st_size
    found = hashlib.sha256(str(size).encode())
    starts, width = ([0], size) if size <= whole else ([size * index // samples for index in range(samples)], width)
    with open(file, "rb") as stream:
        for start in starts:
            stream.seek(start)
            found.update(stream.read(width))
    return found.hexdigest()[:12]


def _shard_headers(shard: Path, where: str) -> dict[str, Header]:
    size = shard.stat().st_size
    with open(shard, "rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length + 8 > size:
            raise UserError(f"{where}: {shard} is truncated ({size} bytes): fetch it again")
        try:
            content = json.loads(stream.read(length))
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise UserError(f"{where}: {shard} is not a safetensors file: fetch it again") from None
    content.pop("__metadata__", None)
    end = max((entry["data_offsets"][1] for entry in content.values()), default=0)
    if length + 8 + end != size:
        raise UserError(f"{where}: {shard} has {size} bytes instead of {length + 8 + end}: fetch it again")
    return {name: Header(shard, entry["dtype"], tuple(entry["shape"])) for name, entry in content.items()}
