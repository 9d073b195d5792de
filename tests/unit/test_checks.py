"""Local texts are long enough, as far as that can be known without work."""

from __future__ import annotations

import bz2
import gzip
import lzma
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import tiny
from clone import REPOSITORY, config

from ptqbench.checks import (
    BEGINNING,
    BYTES_PER_TOKEN,
    check_calibration,
    check_corpus,
    check_suite,
    check_windows,
    is_hub_name,
)
from ptqbench.config import check
from ptqbench.data import corpora
from ptqbench.errors import UserError
from ptqbench.model_checks import check_groups
from ptqbench.schemes import filled


def calibration(corpus: str, length: int) -> dict:
    return {"corpus": corpus, "samples": 1, "sequence_length": length}


def test_the_tokens_of_a_short_text_are_counted(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("The cat sees the dog.")
    with pytest.raises(UserError, match=r"reads as (\d+) tokens, fewer than a sequence_length of 64") as raised:
        check_calibration("c", calibration("t.txt", 64), "tiny", tiny_model, tmp_path)
    found = int(str(raised.value).rsplit(" ", 1)[1])
    check_calibration("c", calibration("t.txt", found), "tiny", tiny_model, tmp_path)
    with pytest.raises(UserError):
        check_calibration("c", calibration("t.txt", found + 1), "tiny", tiny_model, tmp_path)


class Read:
    """What was read of all streams."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = 0
        opened = corpora._opened

        @contextmanager
        def counted(file: Path) -> Iterator[Any]:
            def read(count: int) -> bytes:
                data = stream.read(count)
                self.bytes += len(data)
                return data

            with opened(file) as stream:
                yield SimpleNamespace(read=read)

        monkeypatch.setattr(corpora, "_opened", counted)


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst", ".xz", ".bz2"])
def test_of_a_long_text_the_beginning_is_read(
    suffix: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small the file: 20 MB of spaces that hold few tokens are left to the job, which counts them."""
    opens = {"": open, ".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
    file = tmp_path / f"t.txt{suffix}"
    content = b"a " + b" " * 20_000_000
    if suffix == ".zst":
        file.write_bytes(pa.compress(content, codec="zstd", asbytes=True))
    else:
        with opens[suffix](file, "wb") as stream:
            stream.write(content)
    read = Read(monkeypatch)
    check_calibration("c", calibration(file.name, 64), "tiny", tiny_model, tmp_path)
    check_calibration("c", calibration(file.name, 500_000), "tiny", tiny_model, tmp_path)
    assert 64 < read.bytes < 3 * BEGINNING


def test_a_beginning_that_is_no_text_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"\xff" * BYTES_PER_TOKEN * 65)
    with pytest.raises(UserError, match="cannot be read"):
        check_calibration("c", calibration("t.txt", 64), "tiny", tiny_model, tmp_path)
    (tmp_path / "t.txt").write_text("ü" * BYTES_PER_TOKEN * 64)
    check_calibration("c", calibration("t.txt", 63), "tiny", tiny_model, tmp_path)


def test_a_big_corpus_is_planned_at_once(tiny_model: Path, tmp_path: Path) -> None:
    for name in ("t.txt", "t.jsonl"):
        with open(tmp_path / name, "wb") as stream:
            stream.write(b'{"text": "the cat sees the dog"}\n' * 3000)
            stream.truncate(1 << 30)
        begun = time.process_time()
        check_calibration("c", calibration(name, 2048), "tiny", tiny_model, tmp_path)
        assert time.process_time() - begun < 0.5


def test_models_of_the_hub_need_some_text(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("few words")
    check_calibration("c", calibration("t.txt", 64), "big", None, tmp_path)
    (tmp_path / "t.txt").write_text(" ")
    with pytest.raises(UserError, match="the corpus is empty"):
        check_calibration("c", calibration("t.txt", 64), "big", None, tmp_path)


def test_the_window_is_the_context_unless_it_is_given(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(tiny.text(16))
    suite = {"kind": "perplexity", "corpora": {"name": "t.txt"}}
    with pytest.raises(UserError, match=rf"suites\.s\.corpora\.name .* fewer than a window of {tiny.CONTEXT}:"):
        check_windows("s", suite, "tiny", tiny_model, tmp_path)
    check_windows("s", {**suite, "window": 16}, "tiny", tiny_model, tmp_path)


@pytest.mark.parametrize(
    ("corpus", "hub"),
    [("wikitext2", True), ("c4", True), ("a.txt", False), ("b/a", False), ("a.jsonl.zst", False), ("v1.0", True)],
)
def test_names_and_files(corpus: str, hub: bool) -> None:
    assert is_hub_name(corpus) is hub


def test_formats(tmp_path: Path) -> None:
    for name in ("a.txt", "a.txt.zst", "a.jsonl.gz", "a.parquet"):
        (tmp_path / name).touch()
        check_corpus(name, "config: x", tmp_path)
    (tmp_path / "a.pdf").touch()
    with pytest.raises(UserError, match=r"^config: x is './a\.pdf', which is not \.txt"):
        check_corpus("./a.pdf", "config: x", tmp_path)


def test_group_sizes() -> None:
    shapes = {"a.weight": (10, 96), "b.weight": (10, 64)}
    for group in (-1, 8, 16, 32):
        check_groups("s", {"group_size": group}, "m", shapes)
    with pytest.raises(UserError, match=r"group_size is 48, .* the 64 input channels of b\.weight in model 'm'"):
        check_groups("s", {"group_size": 48}, "m", shapes)
    with pytest.raises(
        UserError, match=r"schemes\.s\.number is 'mxfp4', whose groups of 32 do not divide the 48 input"
    ):
        check_groups("s", filled({"number": "mxfp4"}), "m", {"b.weight": (64, 48)})
    with pytest.raises(
        UserError, match=r"schemes\.s\.number is 'fp8_block', whose blocks of 128 .* 192 output channels"
    ):
        check_groups("s", filled({"number": "fp8_block"}), "m", {"b.weight": (192, 128)})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"corpora": None}, r"suites\.near lacks the key 'corpora', which kind 'fidelity' needs: add it"),
        (
            {"keep_logprobs": True},
            r"suites\.near\.keep_logprobs is True, which means nothing to kind 'fidelity': remove",
        ),
        (
            {"kind": "perplexity", "top_k": 5},
            r"suites\.near\.top_k is 5, which means nothing to kind 'perplexity': remove",
        ),
        ({"corpora": {"t": "none.txt"}}, r"suites\.near\.corpora\.t is 'none.txt', and there is no such file: correct"),
        ({"top_k": 0}, r"suites\.near\.top_k is 0: it must be at least 1"),
        ({"top_k": 2.0}, r"suites\.near\.top_k is 2.0: it must be of type integer, written without a point"),
    ],
)
def test_a_bad_suite_of_kind_fidelity(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    (tmp_path / "t.txt").write_text("The cat sees the dog.")
    suite = {"kind": "fidelity", "corpora": {"t": "t.txt"}, "top_k": 20} | change
    if suite["kind"] == "fidelity" and "top_k" not in change:
        del suite["top_k"]
    suite = {key: value for key, value in suite.items() if value is not None}

    def refuse() -> None:
        check({**config(), "suites": {"near": suite}}, REPOSITORY / "workflow/schemas/config.schema.yaml")
        check_suite("near", suite, tmp_path)

    with pytest.raises(UserError, match=told) as raised:
        refuse()
    assert "\n" not in str(raised.value)
