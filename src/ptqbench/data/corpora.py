"""Text of a corpus: a local file, or a data set of the hub."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ptqbench.data.hub import CORPORA
from ptqbench.errors import UserError

TEXT_COLUMNS = ("text", "content", "sentence", "document")


def read_corpus(corpus: str, purpose: str) -> tuple[list[str], str]:
    """Documents of a corpus and the separator that joins them; ``purpose`` is ``calibration`` or ``evaluation``."""
    documents, separator = _from_hub(corpus, purpose) if corpus in CORPORA else (_from_file(Path(corpus)), "\n\n")
    documents = [document for document in documents if document]
    if not any(document.strip() for document in documents):
        raise UserError("the corpus is empty: give a text with at least one document")
    return documents, separator


def _from_hub(name: str, purpose: str) -> tuple[list[str], str]:
    from datasets import load_dataset

    corpus = CORPORA[name]
    where = corpus.calibration if purpose == "calibration" else corpus.evaluation
    rows = load_dataset(corpus.dataset, corpus.name, **where)
    if purpose == "evaluation" and corpus.documents:
        rows = rows.select(range(min(corpus.documents, len(rows))))
    return list(rows[corpus.column]), corpus.separator


def _from_file(path: Path) -> list[str]:
    """One document for a text file, one a row for ``.jsonl`` and ``.parquet``."""
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            return table.column(_text_column(table.column_names, path)).to_pylist()
        text = _decompress(path)
        if ".jsonl" not in path.suffixes:
            return [text]
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]
        column = _text_column(rows[0] if rows else TEXT_COLUMNS, path)
        return [row[column] for row in rows]
    except (OSError, EOFError, ValueError, LookupError, lzma.LZMAError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read ({error}): fetch or write the file again") from error


def _decompress(path: Path) -> str:
    if path.suffix == ".zst":
        with pa.OSFile(str(path)) as raw, pa.input_stream(raw, compression="zstd") as stream:
            return stream.read().decode("utf-8")
    data = path.read_bytes()
    decompress = {".xz": lzma.decompress, ".gz": gzip.decompress, ".bz2": bz2.decompress}.get(path.suffix)
    return (decompress(data) if decompress else data).decode("utf-8")


def _text_column(columns: Collection[str], path: Path) -> str:
    for column in TEXT_COLUMNS:
        if column in columns:
            return column
    raise UserError(f"{path} has no column named {' or '.join(TEXT_COLUMNS)}: rename the one that holds the text")
