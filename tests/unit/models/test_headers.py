"""Model folders read without torch: headers, truncation, digests."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ptqbench.errors import UserError
from ptqbench.models.headers import digest, read_config, read_headers, sampled_digests


def test_headers_are_those_of_safetensors(tiny_model: Path) -> None:
    headers = read_headers(tiny_model, "x")
    tensors = load_file(tiny_model / "model.safetensors")
    assert {name: header.shape for name, header in headers.items()} == {n: tuple(t.shape) for n, t in tensors.items()}
    assert {header.dtype for header in headers.values()} == {"BF16"}


def test_shards_come_together(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": torch.zeros(3, 4, dtype=torch.float16)}, tmp_path / "model-00002-of-00002.safetensors", {"k": "v"})
    headers = read_headers(tmp_path, "x")
    assert {name: (header.file.name[:11], header.dtype, header.shape) for name, header in headers.items()} == {
        "a": ("model-00001", "F32", (2,)),
        "b": ("model-00002", "F16", (3, 4)),
    }


@pytest.mark.parametrize("kept", [0, 4, 8, 40, -1])
def test_any_truncation_is_found(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(100)}, file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"^models\.m\.path: .*model\.safetensors (is truncated|has \d+ bytes)"):
        read_headers(tmp_path, "models.m.path")


def test_bytes_after_the_end_are_found(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(100)}, file)
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"has \d+ bytes instead of \d+"):
        read_headers(tmp_path, "x")


@pytest.mark.parametrize("header", [b"not json", b"\xff" * 8])
def test_something_else_under_that_name(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(UserError, match="is not a safetensors file"):
        read_headers(tmp_path, "x")


def test_no_weights(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(UserError, match=r"no \*\.safetensors weights: download them, or convert"):
        read_headers(tmp_path, "x")


def test_configs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        read_config(tmp_path / "x", "w")
    with pytest.raises(UserError, match=r"has no config\.json"):
        read_config(tmp_path, "w")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        read_config(tmp_path, "w")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert read_config(tmp_path, "w") == {"model_type": "llama"}


def test_digests_cover_what_makes_a_model(tmp_path: Path) -> None:
    for name in ("a.safetensors", "config.json", "vocab.txt", "t.model", "README.md", "a.bin"):
        (tmp_path / name).write_text("x")
    assert set(sampled_digests(tmp_path)) == {"a.safetensors", "config.json", "vocab.txt", "t.model"}


def test_any_byte_of_a_small_file_counts(tmp_path: Path) -> None:
    file = tmp_path / "f"
    content = bytearray(1000)
    file.write_bytes(content)
    found = {digest(file)}
    for index in (0, 500, 999):
        content[index] ^= 1
        file.write_bytes(content)
        found.add(digest(file))
    assert len(found) == 4
    assert all(len(value) == 12 for value in found)


def test_a_large_file_is_sampled(tmp_path: Path) -> None:
    file = tmp_path / "f"
    sizes = {"whole": 100, "samples": 4, "width": 10}
    file.write_bytes(bytes(1000))
    before = digest(file, **sizes)
    file.write_bytes(bytes(1001))
    assert digest(file, **sizes) != before, "another size"
    content = bytearray(1000)
    content[505] = 1
    file.write_bytes(content)
    assert digest(file, **sizes) != before, "inside the third chunk"
    content[505], content[495] = 0, 1
    file.write_bytes(content)
    assert digest(file, **sizes) == before, "between chunks"
