"""Model folders read without torch: configs and headers, and whatever may be wrong with them in one line."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from ptqbench.errors import UserError
from ptqbench.models.headers import read_config, read_headers

WEIGHTS = "model.safetensors"


def write_header(file: Path, header: Any, size: int = 8) -> None:
    """A safetensors file of ``size`` bytes of data under a header of any kind."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(size))


def test_headers_are_those_of_safetensors(tiny_model: Path) -> None:
    headers = read_headers(tiny_model, "x")
    tensors = load_file(tiny_model / WEIGHTS)
    assert {name: header.shape for name, header in headers.items()} == {n: tuple(t.shape) for n, t in tensors.items()}
    assert {header.dtype for header in headers.values()} == {"BF16"}


def test_shards_come_together(tmp_path: Path) -> None:
    files = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    save_file({"a": torch.zeros(2)}, tmp_path / files["a"])
    save_file({"b": torch.zeros(3, 4, dtype=torch.float16)}, tmp_path / files["b"], {"k": "v"})
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    headers = read_headers(tmp_path, "x")
    assert {name: (header.file.name[:11], header.dtype, header.shape) for name, header in headers.items()} == {
        "a": ("model-00001", "F32", (2,)),
        "b": ("model-00002", "F16", (3, 4)),
    }
    save_file({"a": torch.zeros(2)}, tmp_path / files["b"])
    with pytest.raises(UserError, match=r"00002\.safetensors and model-00001.* both have 'a'"):
        read_headers(tmp_path, "x")


@pytest.mark.parametrize("kept", [0, 4, 8, 40, -1])
def test_any_truncation_is_found(tmp_path: Path, kept: int) -> None:
    file = tmp_path / WEIGHTS
    save_file({"a": torch.zeros(100)}, file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"^models\.m\.path: .*model\.safetensors (is truncated|has \d+ bytes)"):
        read_headers(tmp_path, "models.m.path")


def test_bytes_after_the_end_are_found(tmp_path: Path) -> None:
    file = tmp_path / WEIGHTS
    save_file({"a": torch.zeros(100)}, file)
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"has \d+ bytes instead of \d+"):
        read_headers(tmp_path, "x")


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BAD_HEADERS: dict[str, Any] = {
    "not json": b"not json",
    "no text": b"\xff" * 8,
    "a list": [],
    "a number": 3,
    "deep": b'{"a":' + b"[" * 200_000,
    "deep enough": b'{"a":' * 40 + b"1" + b"}" * 40,
    "twice": b'{"a": {}, "a": {}}',
    "huge number": b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 8]}}',
    "entry": {"a": None},
    "entry of names": {"a": {**ENTRY, "more": 1}},
    **{f"no {key}": {"a": {k: v for k, v in ENTRY.items() if k != key}} for key in ENTRY},
    **{f"dtype {value}": {"a": {**ENTRY, "dtype": value}} for value in ("F33", "", None, 4, ["F32"])},
    **{
        f"shape {value}": {"a": {**ENTRY, "shape": value}}
        for value in ([-2], [-1, -2], ["2"], [2.0], "2", None, {}, [3], [True, 2], [2**62, 4], [[2]])
    },
    **{
        f"offsets {value}": {"a": {**ENTRY, "data_offsets": value}}
        for value in ([8, 0], [0], [0, 8, 16], [4, 12], [-8, 0], ["0", "8"], None, 8, [0, 2**60])
    },
    "overlap": {"a": ENTRY, "b": ENTRY},
    "gap": {"a": ENTRY, "b": {**ENTRY, "data_offsets": [16, 24]}},
}


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_a_header_that_is_none_is_one_line(tmp_path: Path, case: str) -> None:
    """The safetensors library is the oracle: it refuses all of these but names that come twice."""
    file = tmp_path / WEIGHTS
    write_header(file, BAD_HEADERS[case])
    with pytest.raises(UserError, match=r"^models\.m\.path: .*: fetch it again$|: remove one$") as raised:
        read_headers(tmp_path, "models.m.path")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300 + len(str(file))
    with pytest.raises(SafetensorError):
        safe_open(file, "pt").__enter__().get_tensor("b")  # there is none; of names that come twice it takes the last


def test_a_header_of_a_sparse_file_is_not_read(tmp_path: Path) -> None:
    size = 40 << 30
    with open(tmp_path / WEIGHTS, "wb") as stream:
        stream.write(struct.pack("<Q", size - 8))
        stream.truncate(size)
    with pytest.raises(UserError, match="has a header of 42949672952 bytes"):
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


@pytest.mark.parametrize(
    "content",
    [b"[]", b"null", b"3", b'"x"', b"\xff\xfe{}", b"[" * 200_000, b'{"a":' * 100 + b"1" + b"}" * 100, b"1" * 9999],
    ids=["list", "null", "number", "text", "utf-16", "deep list", "deep objects", "digits"],
)
def test_a_config_that_is_none_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"^w: .*config\.json (is|is not|is nested) .*: fetch it again$") as raised:
        read_config(tmp_path, "w")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", [0, -1, 0.5, 4.0, 10**12, "4", True, [], {}, float("nan"), float("inf"), ""])
@pytest.mark.parametrize("key", ["num_hidden_layers", "hidden_size", "num_local_experts", "max_position_embeddings"])
def test_counts_have_limits(tmp_path: Path, key: str, value: Any) -> None:
    for config in ({key: value}, {"text_config": {key: value}}):
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(UserError, match=rf"config\.json:?.* has {key} .*: correct it$"):
            read_config(tmp_path, "w")


@pytest.mark.parametrize("file", ["config.json", WEIGHTS])
def test_what_is_no_file_under_a_file_s_name(tmp_path: Path, tiny_model: Path, file: str) -> None:
    """A folder, a pipe (which nobody writes to) and a link to nothing; none of them is opened."""
    for name in ("config.json", WEIGHTS):
        os.symlink(tiny_model / name, tmp_path / name)
    assert read_headers(tmp_path, "x")
    assert read_config(tmp_path, "x")
    path = tmp_path / file
    for make, said in (
        (lambda: path.mkdir(), "is a folder"),
        (lambda: os.mkfifo(path), "is a pipe"),
        (lambda: path.symlink_to("nowhere"), "is a link to 'nowhere', which is gone"),
    ):
        path.rmdir() if path.is_dir() else path.unlink()
        make()
        with pytest.raises(UserError, match=said):
            read_config(tmp_path, "x"), read_headers(tmp_path, "x")
