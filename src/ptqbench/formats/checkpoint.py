"""Write a model folder that loads anywhere: the hub's names, the source's shards and the files beside them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ptqbench.atomic import atomic, write_text
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.companions import companions
from ptqbench.models.files import INDEX, WEIGHTS
from ptqbench.models.parts import parts
from ptqbench.models.recomputed import is_recomputed

WRITERS = 2  # shards that are written at once, and so held where their tensors are made anew

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

    ``added`` tensors go into the last shard of their part; ``changes`` and the ``quantization`` config go into
    ``config.json``, and into that of the part which is the language model where the model is stored in parts.
    """
    dropped = ("quantization_config",) if source.remote else ("quantization_config", "auto_map")  # its code stays too
    config = {key: value for key, value in merged(source.config, changes).items() if key not in dropped}
    if quantization:
        config["quantization_config"] = quantization
    folders = parts(source.folder)
    files = [file for part in folders or [""] for file in _write_part(source, folder, part, replace, added)]
    for part in folders:
        own = {key: value for key, value in config[f"{part}_cfg"].items() if key not in dropped}
        if f"{part}_cfg" == source.adapter.text and quantization:
            inside = [name.removeprefix(f"{part}.") for name in quantization.get("ignore", [])]
            own = own | {"quantization_config": quantization | {"ignore": inside}}
        write_text(folder / part / "config.json", json.dumps(own, indent=2) + "\n")
        files += [folder / part / "config.json", *_carry(source.folder / part, folder / part, source.remote)]
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
    return [*files, folder / "config.json", *_carry(source.folder, folder, source.remote)]


def merged(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``config`` with ``changes``, which go into nested mappings too."""
    result = dict(config)
    for key, value in changes.items():
        result[key] = merged(result.get(key, {}), value) if isinstance(value, dict) else value
    return result


def _write_part(source: Checkpoint, folder: Path, part: str, replace: Replace, added: dict[str, Tensor]) -> list[Path]:
    """The shards of one part (or of a whole model, whose part is ``""``), and their index if there are several."""
    (folder / part).mkdir(parents=True, exist_ok=True)
    shards = sorted({header.file for header in source.headers.values() if header.part == part})
    before = f"{part}." if part else ""

    def write(shard: Path) -> dict[str, int]:
        """One shard; returns the bytes of each of its tensors."""
        tensors = {key: value for name, tensor in _read(shard) for key, value in replace(before + name, tensor).items()}
        tensors |= {name: t for name, t in added.items() if name.startswith(before)} if shard == shards[-1] else {}
        inside = {name.removeprefix(before): tensor.cpu().contiguous() for name, tensor in tensors.items()}
        with atomic(folder / part / shard.name) as temporary:
            save_file(inside, temporary, {"format": "pt"})
        return {name: tensor.nbytes for name, tensor in inside.items()}

    with ThreadPoolExecutor(WRITERS) as threads:
        held = dict(zip(shards, threads.map(write, shards), strict=True))
    files = [folder / part / shard.name for shard in shards]
    if len(shards) > 1 or shards[0].name != WEIGHTS:  # transformers looks for nothing else
        places = {name: shard.name for shard, names in held.items() for name in names}
        total = sum(sum(names.values()) for names in held.values())
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
        write_text(folder / part / INDEX, json.dumps(index, indent=1))
        files.append(folder / part / INDEX)
    return files


def _read(shard: Path) -> Iterator[tuple[str, Tensor]]:
    """The weights; buffers that are recomputed stay behind, as transformers leaves them: vLLM may refuse them."""
    with safe_open(shard, framework="pt") as stream:
        for name in stream.keys():  # noqa: SIM118 (not a dict)
            if not is_recomputed(name):
                yield name, stream.get_tensor(name)


def _carry(source: Path, folder: Path, remote: bool) -> list[Path]:
    names = companions(source, remote)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with atomic(folder / name) as temporary:
            shutil.copyfile(source / name, temporary)
    return [folder / name for name in names]
