"""Text of a corpus: a local file, or a data set of the hub."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
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
            return _text_column(pq.read_table(path), path)
        text = _decompress(path)
        if ".jsonl" not in path.suffixes:
            return [text]
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]
        return _text_column(pa.Table.from_pylist(rows), path)
    except (OSError, EOFError, ValueError, lzma.LZMAError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read ({error}): fetch or write the file again") from error


def _decompress(path: Path) -> str:
    if path.suffix == ".zst":
        with pa.OSFile(str(path)) as raw, pa.input_stream(raw, compression="zstd") as stream:
            return stream.read().decode("utf-8")
    data = path.read_bytes()
    decompress = {".xz": lzma.decompress, ".gz": gzip.decompress, ".bz2": bz2.decompress}.get(path.suffix)
    return (decompress(data) if decompress else data).decode("utf-8")


def _text_column(table: pa.Table, path: Path) -> list[str]:
    for column in TEXT_COLUMNS:
        if column in table.column_names:
            return table.column(column).to_pylist()
    raise UserError(f"{path} has no column named {' or '.join(TEXT_COLUMNS)}: rename the one that holds the text")
