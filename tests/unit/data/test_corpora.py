"""Texts of every kind and compression."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ptqbench.data.corpora import Corpus, beginning, parted, read_corpus
from ptqbench.errors import UserError

DOCUMENTS = ["First, with ünïcödé.\nA second line.", "Second: a line\u2028separator and \x85 inside.", "Third."]


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


COMPRESSIONS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("", bytes),
    (".zst", zstd),
    (".xz", lzma.compress),
    (".gz", gzip.compress),
    (".bz2", bz2.compress),
]
each_compression = pytest.mark.parametrize(("suffix", "compress"), COMPRESSIONS)


@each_compression
def test_a_text_file_is_one_document(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    file = tmp_path / f"a.txt{suffix}"
    file.write_bytes(compress("\n".join(DOCUMENTS).encode()))
    assert read_corpus(str(file), "calibration") == Corpus(["\n".join(DOCUMENTS)], "\n\n")


@each_compression
@pytest.mark.parametrize("escape", [True, False])
def test_a_row_is_a_document(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes], escape: bool) -> None:
    file = tmp_path / f"a.jsonl{suffix}"
    rows = [json.dumps({"id": 1, "text": text}, ensure_ascii=escape) for text in DOCUMENTS]
    file.write_bytes(compress("\n".join([*rows, "", ""]).encode()))
    assert read_corpus(str(file), "calibration").documents == DOCUMENTS


@pytest.mark.parametrize("column", ["text", "content", "sentence", "document"])
def test_parquet(tmp_path: Path, column: str) -> None:
    pq.write_table(pa.table({"id": range(5), column: [*DOCUMENTS, None, ""]}), tmp_path / "a.parquet")
    found = read_corpus(str(tmp_path / "a.parquet"), "evaluation")
    assert found.documents == [*DOCUMENTS, "", ""], "a null row is an empty one"
    assert found.stream == "\n\n".join([*DOCUMENTS, "", ""])


def test_no_column_of_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": DOCUMENTS}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"has no column named text or content or .*: rename"):
        read_corpus(str(tmp_path / "a.parquet"), "calibration")


@pytest.mark.parametrize("content", ["", " \n\t\n"])
def test_an_empty_text(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(UserError, match="the corpus is empty"):
        read_corpus(str(tmp_path / "a.txt"), "calibration")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"\xff\xfe\xff"),
        ("a.txt.zst", zstd(b"word " * 100)[:20]),
        ("a.txt.xz", lzma.compress(b"word " * 100)[:20]),
        ("a.txt.gz", gzip.compress(b"word " * 100, mtime=0)[:20]),
        ("a.txt.bz2", b"word"),
        ("a.jsonl", b'{"text": "a"}\n{"text": '),
        ("a.jsonl", b'{"text": "a"}\n{"txt": "b"}\n'),
        ("a.parquet", b"PAR1"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} cannot be read \(.+\): fetch or write the file again"):
        read_corpus(str(tmp_path / name), "calibration")


def test_rows_may_have_other_fields_of_any_kind(tmp_path: Path) -> None:
    rows = [{"meta": 1, "text": "a", "content": "x"}, {"text": "b", "meta": ["c"]}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert read_corpus(str(tmp_path / "a.jsonl"), "calibration").documents == ["a", "b"]


@pytest.mark.parametrize("row", [5, 1.5, True, ["a"], {"a": 1}])
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_row_that_is_no_text_is_refused_in_one_line(suffix: str, row: Any, tmp_path: Path) -> None:
    file = tmp_path / f"a{suffix}"
    if suffix == ".jsonl":
        file.write_text("\n".join(json.dumps({"text": text}) for text in ("a", None, row)))
    else:
        pq.write_table(pa.table({"text": [None, row]}), file)
    for read in (lambda: read_corpus(str(file), "evaluation"), lambda: beginning(file, 1000)):
        with pytest.raises(UserError, match=r"in 'text'.*, which is no text: ") as raised:
            read()
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("separator", ["<|endoftext|>", "</s>", "<s>", "<eos>"])
@pytest.mark.parametrize("around", ["", "\n", "\n\n", "\r\n"])
def test_a_text_of_many_documents_is_parted(separator: str, around: str, tmp_path: Path) -> None:
    """At what the tokenizer begins or ends a document with, and at what everybody writes between documents."""
    (tmp_path / "a.txt").write_bytes(f"{around}{separator}{around}".join([*DOCUMENTS, ""]).encode())
    special = [separator, None] if separator != "<|endoftext|>" else []
    found = read_corpus(str(tmp_path / "a.txt"), "evaluation", special=special)
    assert found.documents == DOCUMENTS
    assert separator not in found.stream
    assert found.crops is None


def test_a_text_is_not_parted_at_what_only_looks_like_a_separator() -> None:
    text = "Struck <s>out</s>.\n\n<|end|>"
    assert parted(text, []) == [text]
    assert parted(text, [None, "<|im_end|>"]) == [text]
    assert parted("a<|eot|>b<|eot|id|>c", ["<|eot|>", "<|eot|id|>"]) == ["a", "b", "c"]


@each_compression
@pytest.mark.parametrize("kind", [".txt", ".jsonl"])
@pytest.mark.parametrize("characters", [1, 5, 40, 10_000])
def test_the_beginning_is_that_of_the_stream(
    kind: str, characters: int, tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    plain = [document.encode("ascii", "ignore").decode() for document in ["", *DOCUMENTS, ""]]
    lines = [json.dumps({"text": text}) for text in plain]
    (tmp_path / f"a{kind}{suffix}").write_bytes(compress("\n".join(lines if kind == ".jsonl" else plain).encode()))
    stream = read_corpus(str(tmp_path / f"a{kind}{suffix}"), "evaluation").stream
    text, whole = beginning(tmp_path / f"a{kind}{suffix}", characters)
    assert stream.startswith(text)
    assert len(text) == min(characters, len(stream))
    assert whole == (characters >= len(stream))
