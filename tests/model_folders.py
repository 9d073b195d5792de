"""Damaged model folders: one change, drawn from a seed, to a copy of a model of any family."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from clone import REPOSITORY

from ptqbench.models.files import INDEX, WEIGHTS

MODELS = sorted(path for path in (REPOSITORY / "resources/models").iterdir() if (path / "config.json").is_file())
NUMBERS = (0, 1, -1, 2, 3, 10**6, 10**12, 2**63, -5, 0.5, 1e300, float("nan"), float("inf"))
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, "", "x", "llama", "4", [1], {"a": 1}, "../..", "\0", "é" * 400)
BYTES = (b"", b"{}", b"[]", b"null", b"3", b'"x"', b"\xff\xfe{}", b"\0", b"[" * 100_000, b'{"a":1,"a":2}', b"{]")
Random = random.Random
Change = Callable[[Path, Random], str]


def copied(source: Path, folder: Path) -> Path:
    """A copy whose files are links to the source's until they are written anew."""
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(source, folder, copy_function=os.link))


def damaged(folder: Path, rng: Random) -> str:
    """Change the copied folder and say how."""
    change = rng.choices(list(CHANGES), list(CHANGES.values()))[0]
    return f"{change.__name__}: {change(folder, rng)}"


def rewrite(file: Path, content: bytes) -> None:
    """Replace a file, and not the source that it is linked to."""
    file.unlink(missing_ok=True)
    file.write_bytes(content)


def value(rng: Random) -> Any:
    return rng.choice(NUMBERS) if rng.random() < 0.5 else copy.deepcopy(rng.choice(OTHERS))


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key, inner in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from places(inner, (*path, key))


def mutated(node: Any, rng: Random, depth: int = 9) -> str:
    """One value removed or replaced."""
    *outer, last = rng.choice([path for path in places(node) if path and len(path) <= depth])
    for key in outer:
        node = node[key]
    what = ".".join(map(str, (*outer, last)))[:60]
    if rng.random() < 0.35:
        del node[last]
        return f"without {what}"
    node[last] = value(rng)
    return f"{what} = {node[last]!r:.40}"


def json_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*.json"))


def a_config(folder: Path, rng: Random) -> str:
    file = rng.choice(sorted(folder.rglob("config.json")))
    content = json.loads(file.read_text())
    said = "; ".join(mutated(content, rng) for _ in range(rng.choice([1, 1, 2])))
    rewrite(file, json.dumps(content).encode())
    return f"{file.relative_to(folder)}: {said}"


def another_json(folder: Path, rng: Random) -> str:
    file = rng.choice([file for file in json_files(folder) if file.name != "config.json"])
    content = json.loads(file.read_text())
    said = mutated(content, rng, depth=3)
    rewrite(file, json.dumps(content).encode())
    return f"{file.relative_to(folder)}: {said}"


def the_bytes_of_a_file(folder: Path, rng: Random) -> str:
    file = rng.choice([*json_files(folder), *folder.rglob("*.jinja"), *folder.rglob(WEIGHTS)])
    content = bytearray(file.read_bytes())
    kind = rng.randrange(4)
    if kind == 0:
        content = bytearray(rng.choice(BYTES))
    elif kind == 1:
        del content[rng.randrange(len(content)) :]
    elif kind == 2:
        content[rng.randrange(min(len(content), 3000))] ^= rng.choice([0x80, 1, 0x20])
    else:
        content += b"\0"
    rewrite(file, bytes(content))
    return f"{file.relative_to(folder)}: kind {kind}, {len(content)} bytes"


def a_header(folder: Path, rng: Random) -> str:
    file = rng.choice(sorted(folder.rglob(WEIGHTS)))
    content = file.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    said = "; ".join(mutated(header, rng) for _ in range(rng.choice([1, 1, 2])))
    text = json.dumps(header).encode()
    length = rng.choice([len(text)] * 9 + [0, 7, 2**40, 2**63])
    rewrite(file, struct.pack("<Q", length) + text + content[8 + struct.unpack("<Q", content[:8])[0] :])
    return f"{file.relative_to(folder)}: {said}; length {length}"


def a_tensor(folder: Path, rng: Random) -> str:
    """Dropped, renamed, reshaped or of another type, in a file that is whole."""
    from safetensors.torch import load_file, save_file

    file = rng.choice(sorted(folder.rglob(WEIGHTS)))
    tensors = load_file(file)
    name, kind = rng.choice(sorted(tensors)), rng.randrange(6)
    tensor = tensors.pop(name)
    if kind == 1:
        tensors[f"{name}_scale"] = tensor
    elif kind == 2:
        tensors[name] = tensor.flatten()[1:].clone()
    elif kind == 3:
        tensors[name] = tensor.char()
    elif kind == 4:
        tensors[name] = tensor.double()
    elif kind == 5:
        tensors |= {name: tensor, "model.layers.0.self_attn.rotary_emb.inv_freq": tensor.flatten()[:8].clone()}
    file.unlink()
    save_file(tensors, file, {"format": "pt"})
    return f"{file.relative_to(folder)}: {name}, kind {kind}"


def an_index(folder: Path, rng: Random) -> str:
    """Two shards for one file, with an index that is right or has one mistake."""
    from safetensors.torch import load_file, save_file

    file = rng.choice(sorted(folder.rglob(WEIGHTS)))
    tensors = load_file(file)
    file.unlink()
    index: dict[str, Any] = {"metadata": {}, "weight_map": {}}
    for part in range(2):
        shard = f"model-{part + 1:05d}-of-00002.safetensors"
        held = {name: tensors[name] for name in sorted(tensors)[part::2]}
        save_file(held, file.with_name(shard), {"format": "pt"})
        index["weight_map"] |= dict.fromkeys(held, shard)
    said = mutated(index, rng) if rng.random() < 0.7 else "as it should be"
    if rng.random() < 0.3:
        stray = rng.choice(["consolidated.safetensors", "model-00003-of-00002.safetensors", WEIGHTS])
        save_file({name: tensor * 0 for name, tensor in tensors.items()}, file.with_name(stray), {"format": "pt"})
        said += f", {stray} beside it"
    (file.parent / INDEX).write_text(json.dumps(index))
    return f"{file.parent.name}: {said}"


def a_kind_of_file(folder: Path, rng: Random) -> str:
    file = rng.choice([*json_files(folder), *folder.rglob("*.jinja"), *folder.rglob(WEIGHTS)])
    kind = rng.choice(["gone", "folder", "pipe", "link to nothing", "link to itself", "empty", "sparse", "device"])
    file.unlink()
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind in ("link to nothing", "link to itself", "device"):
        file.symlink_to({"link to nothing": "../blobs/gone", "device": "/dev/zero"}.get(kind, file.name))
    elif kind in ("empty", "sparse"):
        with open(file, "wb") as stream:
            stream.write(struct.pack("<Q", (40 << 30) - 8))
            stream.truncate(0 if kind == "empty" else 40 << 30)
    return f"{file.relative_to(folder)}: {kind}"


def something_more(folder: Path, rng: Random) -> str:
    name = rng.choice(
        ["adapter_config.json", INDEX, "model.fp16.safetensors", "vocab.json", "added_tokens.json", "x.py"]
    )
    part = rng.choice([folder, *(path for path in folder.iterdir() if path.is_dir())])
    rewrite(part / name, rng.choice(BYTES))
    return f"{part.name}/{name}"


CHANGES: dict[Change, int] = {
    a_config: 8,
    another_json: 4,
    the_bytes_of_a_file: 4,
    a_header: 4,
    a_tensor: 3,
    an_index: 3,
    a_kind_of_file: 3,
    something_more: 1,
}
