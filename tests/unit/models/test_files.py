"""Which files are the model: what transformers reads, and one line for what programs read differently."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.utils import CHAT_TEMPLATE_DIR, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from ptqbench.errors import UserError
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.companions import TEMPLATES
from ptqbench.models.files import INDEX, WEIGHTS, all_weights, model_files, wanted_files, wanted_weights
from ptqbench.models.headers import read_headers

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
Change = Callable[[Path], None]


def split(folder: Path) -> dict[str, str]:
    """The folder's one file as two shards and their index."""
    found = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = {name: SHARDS[index % 2] for index, name in enumerate(sorted(found))}
    for shard in SHARDS:
        save_file({name: found[name] for name in found if names[name] == shard}, folder / shard, {"format": "pt"})
    write_index(folder, names)
    return names


def write_index(folder: Path, names: object) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": names}))


def zeros(folder: Path, name: str) -> None:
    """The model's tensors once more, all zero, under another name."""
    files = sorted(folder.glob("model*.safetensors"))
    found = {key: torch.zeros_like(value) for file in files for key, value in load_file(file).items()}
    save_file(found, folder / name, {"format": "pt"})


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def test_the_names_are_transformers_own() -> None:
    assert (WEIGHTS, INDEX, TEMPLATES) == (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, CHAT_TEMPLATE_DIR)


def one_file(folder: Path) -> None:
    pass


def two_shards(folder: Path) -> None:
    split(folder)


def a_stale_shard(folder: Path) -> None:
    split(folder)
    zeros(folder, "model-00009-of-00009.safetensors")


def consolidated(folder: Path) -> None:
    split(folder)
    zeros(folder, "consolidated.safetensors")


def a_backup(folder: Path) -> None:
    split(folder)
    zeros(folder, "old-backup.safetensors")


def an_index_of_one(folder: Path) -> None:
    write_index(folder, dict.fromkeys(load_file(folder / WEIGHTS), WEIGHTS))
    zeros(folder, "old-backup.safetensors")


def an_index_of_one_shard(folder: Path) -> None:
    shard = "model-00001-of-00001.safetensors"
    os.rename(folder / WEIGHTS, folder / shard)
    write_index(folder, dict.fromkeys(load_file(folder / shard), shard))


def pickles_beside(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"no pickle")


@pytest.mark.parametrize(
    "change",
    [
        one_file,
        two_shards,
        a_stale_shard,
        consolidated,
        a_backup,
        an_index_of_one,
        an_index_of_one_shard,
        pickles_beside,
    ],
)
def test_what_is_read_is_what_transformers_reads(folder: Path, change: Change) -> None:
    before = {name: tensor.float() for name, tensor in load_file(folder / WEIGHTS).items()}
    size = (folder / WEIGHTS).stat().st_size
    change(folder)
    checkpoint = Checkpoint(folder)
    there = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    assert set(checkpoint.headers) == set(before) == set(there)
    for name in before:
        assert torch.equal(checkpoint.tensor(name).float(), before[name])
        assert torch.equal(there[name], before[name])
    assert size <= sum(file.stat().st_size for file in all_weights(folder, "x")) < 1.1 * size


REFUSED: list[tuple[Change, str]] = [
    (lambda f: zeros(f, "model.fp16.safetensors"), "has 'model.fp16.safetensors' beside model.safetensors"),
    (lambda f: zeros(f, "consolidated.safetensors"), "has 'consolidated.safetensors' beside model.safetensors"),
    (lambda f: os.rename(f / WEIGHTS, f / "weights.safetensors"), "has 'weights.safetensors' and no model.safetensors"),
    (lambda f: (split(f), (f / INDEX).unlink()), "has 'model-00001-of-00002.safetensors' and no model.safetensors"),
    (lambda f: (split(f), zeros(f, WEIGHTS)), "has model.safetensors and an index of other files"),
    (lambda f: (split(f), (f / SHARDS[1]).unlink()), "there is no file .*model-00002-of-00002.safetensors"),
    (lambda f: (f / WEIGHTS).unlink(), "has no \\*.safetensors weights: download them, or convert"),
    *(
        (lambda f, place=place: (split(f), write_index(f, {"a": place})), "which is no safetensors file of its folder")
        for place in ("../other/model.safetensors", "/etc/passwd", "sub/x.safetensors", "x.bin", "", ".", "..", 3, None)
    ),
    *(
        (lambda f, value=value: (split(f), write_index(f, value)), "has no weight_map")
        for value in ({}, [], None, "x", 3)
    ),
    *(
        (lambda f, value=value: (split(f), (f / INDEX).write_text(json.dumps(value))), "has no metadata, an object")
        for value in ({}, {"metadata": None, "weight_map": {}}, {"metadata": [], "weight_map": {}})
    ),
    (lambda f: (split(f), (f / INDEX).write_text("[]")), "where a JSON object is meant"),
    (lambda f: (split(f), (f / INDEX).unlink(), (f / INDEX).mkdir()), "is a folder, where a file is meant"),
    (lambda f: (split(f), (f / INDEX).unlink(), os.mkfifo(f / INDEX)), "is a pipe or device"),
]


@pytest.mark.parametrize(("change", "said"), REFUSED, ids=map(str, range(len(REFUSED))))
def test_what_programs_would_read_differently_is_one_line(folder: Path, change: Change, said: str) -> None:
    change(folder)
    with pytest.raises(UserError, match=f"^models.m.path: .*{said}") as raised:
        read_headers(folder, "models.m.path")
    assert "\n" not in str(raised.value)


NAMES = {
    "config.json": True,
    "tokenizer.model": True,
    "chat_template.jinja": True,
    "additional_chat_templates/rag.jinja": True,
    "merges.txt": True,
    "modeling_mine.py": None,
    "README.md": False,
    ".gitattributes": False,
    "LICENSE.txt": None,
    "image.png": False,
    "pytorch_model.bin": False,
    "original/params.json": False,
    "onnx/model.safetensors": False,
}


@pytest.mark.parametrize("code", [False, True])
def test_a_fetched_model_is_the_files_of_a_local_one(folder: Path, code: bool) -> None:
    split(folder)
    zeros(folder, "consolidated.safetensors")
    for name in NAMES:
        if not (folder / name).exists():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("x")
    names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    local = {file.relative_to(folder).as_posix() for file in model_files(folder, "x", code)}
    fetched = [*wanted_files(names, code), *wanted_weights(names, folder, "x")]
    assert sorted(fetched) == sorted(local)
    for name, kept in NAMES.items():
        assert (name in local) == (code if kept is None else kept), name
