"""Write a model folder that loads anywhere: the hub's names, the source's shards, tokenizer and generation config."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ptqbench.manifest import atomic, write_text
from ptqbench.models.checkpoint import Checkpoint

CARRIED = (
    "tokenizer*",
    "special_tokens_map.json",
    "vocab*",
    "merges.txt",
    "generation_config.json",
    "*.jinja",
    "*.model",
    "configuration_*.py",
)
INDEX = "model.safetensors.index.json"

Replace = Callable[[str, Tensor], dict[str, Tensor]]


def write_model(
    source: Checkpoint,
    folder: Path,
    replace: Replace,
    quantization: dict[str, Any] | None,
    added: dict[str, Tensor],
    changes: dict[str, Any],
) -> list[Path]:
    """Copy ``source`` with every tensor passed through ``replace(name, tensor)``; returns the files written.

    ``added`` tensors go into the last shard; ``changes`` and the ``quantization`` config go into ``config.json``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = sorted({header.file for header in source.headers.values()})
    written: dict[str, str] = {}
    total = 0
    for shard in shards:
        tensors = {key: value for name, tensor in _read(shard) for key, value in replace(name, tensor).items()}
        tensors |= added if shard == shards[-1] else {}
        with atomic(folder / shard.name) as temporary:
            save_file(
                {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, temporary, {"format": "pt"}
            )
        written |= dict.fromkeys(tensors, shard.name)
        total += sum(tensor.nbytes for tensor in tensors.values())
    files = [folder / shard.name for shard in shards]
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(written.items()))}
        write_text(folder / INDEX, json.dumps(index, indent=1))
        files.append(folder / INDEX)
    config = source.config | changes
    config.pop("quantization_config", None)
    if quantization:
        config["quantization_config"] = quantization
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
    return [*files, folder / "config.json", *_carry(source.folder, folder)]


def _read(shard: Path) -> Iterator[tuple[str, Tensor]]:
    with safe_open(shard, framework="pt") as stream:
        for name in stream.keys():  # noqa: SIM118 (not a dict)
            yield name, stream.get_tensor(name)


def _carry(source: Path, folder: Path) -> list[Path]:
    carried = []
    for file in sorted({file for pattern in CARRIED for file in source.glob(pattern)}):
        with atomic(folder / file.name) as temporary:
            shutil.copyfile(file, temporary)
        carried.append(folder / file.name)
    return carried
