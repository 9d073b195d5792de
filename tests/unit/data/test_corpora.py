"""Texts of every kind and compression."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ptqbench.data.corpora import read_corpus
from ptqbench.data.hub import CORPORA
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
    assert read_corpus(str(file), "calibration") == (["\n".join(DOCUMENTS)], "\n\n")


@each_compression
@pytest.mark.parametrize("escape", [True, False])
def test_a_row_is_a_document(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes], escape: bool) -> None:
    file = tmp_path / f"a.jsonl{suffix}"
    rows = [json.dumps({"id": 1, "text": text}, ensure_ascii=escape) for text in DOCUMENTS]
    file.write_bytes(compress("\n".join([*rows, "", ""]).encode()))
    assert read_corpus(str(file), "calibration")[0] == DOCUMENTS


@pytest.mark.parametrize("column", ["text", "content", "sentence", "document"])
def test_parquet(tmp_path: Path, column: str) -> None:
    pq.write_table(pa.table({"id": range(5), column: [*DOCUMENTS, None, ""]}), tmp_path / "a.parquet")
    assert read_corpus(str(tmp_path / "a.parquet"), "evaluation")[0] == DOCUMENTS


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


class Rows:
    """The little of a data set that is used."""

    def __init__(self, column: str, texts: list[str]) -> None:
        self.column, self.texts = column, texts

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, column: str) -> list[str]:
        assert column == self.column
        return self.texts

    def select(self, indices: range) -> Rows:
        return Rows(self.column, [self.texts[index] for index in indices])


@pytest.mark.parametrize("name", sorted(CORPORA))
@pytest.mark.parametrize("purpose", ["calibration", "evaluation"])
def test_the_splits_of_the_hub(name: str, purpose: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def load_dataset(dataset: str, subset: str | None, **where: str) -> Rows:
        asked.update(dataset=dataset, subset=subset, **where)
        return Rows(CORPORA[name].column, [f"document {index}" for index in range(3000)])

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    documents, separator = read_corpus(name, purpose)
    expected = CORPORA[name].calibration if purpose == "calibration" else CORPORA[name].evaluation
    assert asked == {"dataset": CORPORA[name].dataset, "subset": CORPORA[name].name, **expected}
    assert separator == CORPORA[name].separator
    limit = CORPORA[name].documents if purpose == "evaluation" else None
    assert len(documents) == (limit or 3000)


def test_calibration_and_test_texts_differ() -> None:
    for name, corpus in CORPORA.items():
        assert corpus.calibration != corpus.evaluation or name == "pile"


def test_rows_may_have_other_fields_of_any_kind(tmp_path: Path) -> None:
    rows = [{"meta": 1, "text": "a", "content": "x"}, {"text": "b", "meta": ["c"]}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert read_corpus(str(tmp_path / "a.jsonl"), "calibration")[0] == ["a", "b"]
