"""Text of a corpus: a local file, or a data set of the hub."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ptqbench.data.hub import CORPORA
from ptqbench.errors import UserError

TEXT_COLUMNS = ("text", "content", "sentence", "document")
SEPARATOR = "<|endoftext|>"  # between the documents of a text file, whatever the tokenizer
BATCH = 1000  # rows of a parquet file that are read together
OPEN: dict[str, Any] = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}


class Corpus(NamedTuple):
    """Documents, what joins them to one stream, and what is read of it.

    ``crops`` is the rule by which the hub's sets are sampled (see :mod:`ptqbench.data.calibration`), None for files;
    ``windows`` are the first of the stream that an evaluation counts, None for all.
    """

    documents: Sequence[str]
    separator: str = "\n\n"
    crops: str | None = None
    windows: int | None = None

    @property
    def stream(self) -> str:
        """All documents as one text."""
        return self.separator.join(self.documents)


def read_corpus(corpus: str, purpose: str, revision: str | None = None, special: Collection[str | None] = ()) -> Corpus:
    """A corpus for a ``purpose``, ``calibration`` or ``evaluation``; a set of the hub at a ``revision``.

    ``special`` are the tokenizer's tokens that begin or end a document: they part the documents of a text file.
    Raises :class:`UserError` for an empty one.
    """
    if corpus in CORPORA:
        return _from_hub(corpus, purpose, revision)
    file = Path(corpus)
    with _told(file):
        documents = list(_rows(file)) if _has_rows(file) else parted(_whole(file), special)
    if not any(document.strip() for document in documents):
        raise UserError("the corpus is empty: give a text with at least one document")
    return Corpus(documents)


def beginning(file: Path, characters: int) -> tuple[str, bool]:
    """The first ``characters`` of a local corpus, joined, and whether that is all of it."""
    with _told(file):
        if not _has_rows(file):
            with _opened(file) as stream:
                data, whole = stream.read(characters), not stream.read(1)
                return codecs.getincrementaldecoder("utf-8")().decode(data, whole), whole
        rows, found, size = _rows(file), list[str](), 0
        while size <= characters and (row := next(rows, None)) is not None:
            found.append(row)
            size += len(row)
        joined = Corpus(found).stream
        return joined[:characters], len(joined) <= characters and next(rows, None) is None


def parted(text: str, special: Collection[str | None]) -> list[str]:
    """The documents of a text between separators, without the line breaks beside them; all of it where it has none."""
    marks = sorted({SEPARATOR, *filter(None, special)}, key=len, reverse=True)
    parts = re.split("|".join(map(re.escape, marks)), text)
    if len(parts) == 1:
        return parts
    return [document for part in parts if (document := part.strip("\r\n"))]


def _from_hub(name: str, purpose: str, revision: str | None) -> Corpus:
    from datasets import load_dataset

    known = CORPORA[name]
    evaluates = purpose == "evaluation"
    where = known.evaluation if evaluates else known.calibration
    rows = load_dataset(known.dataset, known.name, revision=revision, **where)
    if evaluates and known.documents:
        rows = rows.select(range(min(known.documents, len(rows))))
    return Corpus(rows[known.column], known.separator, known.crops, known.windows)


def _has_rows(file: Path) -> bool:
    return file.suffix == ".parquet" or ".jsonl" in file.suffixes


def _rows(file: Path) -> Iterator[str]:
    """One document a row, as it is: an empty or null row is an empty document, which joins as an empty line."""
    if file.suffix == ".parquet":
        with pq.ParquetFile(file) as table:
            column = _text_column(table.schema_arrow.names, file)
            for batch in table.iter_batches(BATCH, columns=[column]):
                yield from _texts(batch.column(0).to_pylist(), column, file)
        return
    with _opened(file) as lines:
        number, column = 0, ""
        for line in lines:
            if not line.strip():
                continue
            row = json.loads(line)
            column = column or _text_column(row, file)
            number += 1
            yield from _texts([row[column]], column, file, number)


def _texts(values: list[Any], column: str, file: Path, number: int | None = None) -> Iterator[str]:
    for value in values:
        if value is not None and not isinstance(value, str):
            at = f" of row {number}" if number else ""
            raise UserError(
                f"{file} has {str(value)[:40]!r}, a {type(value).__name__}, in '{column}'{at}, which is no text: "
                "name the text's column text, or leave the row out"
            )
        yield value or ""


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed as they are read."""
    if file.suffix == ".zst":
        with pa.OSFile(str(file)) as raw, pa.input_stream(raw, compression="zstd") as stream:
            yield io.BufferedReader(stream)
        return
    with OPEN.get(file.suffix, open)(file, "rb") as stream:
        yield stream


def _whole(file: Path) -> str:
    with _opened(file) as stream:
        return stream.read().decode("utf-8")


@contextmanager
def _told(file: Path) -> Iterator[None]:
    """A file that cannot be read is named in one line."""
    try:
        yield
    except (
        OSError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        RecursionError,
        lzma.LZMAError,
        pa.ArrowException,
    ) as error:
        raise UserError(f"{file} cannot be read ({str(error)[:120]}): fetch or write the file again") from error


def _text_column(columns: Collection[str], file: Path) -> str:
    for column in TEXT_COLUMNS:
        if column in columns:
            return column
    raise UserError(f"{file} has no column named {' or '.join(TEXT_COLUMNS)}: rename the one that holds the text")
