"""Text to documents, tokenizer and stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tiny

from ptqbench.pocket.corpus import SEPARATOR, encode, load_documents, read_documents, train_tokenizer, wikitext_style

ARTICLE = "Title\nA first-rate line of 1,234 words, it's 5.5 long (and more). The end of a long enough line of text."


@pytest.mark.parametrize("suffix", [".txt", ".txt.zst"])
def test_documents_are_split_at_the_separator(tmp_path: Path, suffix: str) -> None:
    text = f"one\n{SEPARATOR}\n\ntwo\nlines\n{SEPARATOR}\n  \n{SEPARATOR}".encode()
    file = tmp_path / f"a{suffix}"
    file.write_bytes(pa.compress(text, codec="zstd", asbytes=True) if suffix.endswith("zst") else text)
    assert list(read_documents(file)) == ["one", "two\nlines"]


def test_the_spelling_of_wikitext() -> None:
    title, body = [line for line in wikitext_style(ARTICLE).split("\n") if line.strip()]
    assert title == " = Title = "
    assert "first @-@ rate" in body
    assert "1 @,@ 234 words , it 's 5 @.@ 5 long ( and more ) . The" in body
    assert body.endswith(" text . ")


def test_short_lines_with_a_full_stop_are_headings() -> None:
    assert " = = History = = " in wikitext_style("Title\nHistory.\nLine.").split("\n")


def test_a_share_is_respelled_and_the_order_is_seeded(tmp_path: Path) -> None:
    (tmp_path / "wiki.txt").write_text(SEPARATOR.join(f"Title {i}\nAn inner-hyphen {i}." for i in range(400)))
    (tmp_path / "books.txt").write_text(SEPARATOR.join(f"Book {i}, well-known." for i in range(50)))
    paths = [tmp_path / "wiki.txt", tmp_path / "books.txt"]
    first, again, other = (load_documents(paths, "wiki*", 0.35, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert len(first) == 450
    respelled = [document for document in first if "@-@" in document]
    assert 0.28 < len(respelled) / 400 < 0.42
    assert not any("Book" in document for document in respelled)
    assert not any("@-@" in document for document in load_documents(paths, "wiki*", 0.0, 0))


def test_the_tokenizer_is_lossless_and_begins_with_bos() -> None:
    tokenizer = train_tokenizer([tiny.text(2000)], 300, 64)
    for text in ("The cat sees the dog.", "ünïcödé ☃ \n\n  spaces", " leading"):
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids[1:]) == text
    assert len(tokenizer) == 300
    assert tokenizer.bos_token_id == tokenizer.eos_token_id
    assert tokenizer.model_max_length == 64


def test_the_stream_is_the_documents_one_after_the_other() -> None:
    tokenizer = train_tokenizer([tiny.text(2000)], 300, 64)
    documents = ["The cat.", "A dog sees.", "x"]
    stream = encode(documents, tokenizer, batch=2)
    assert stream.dtype == np.uint16
    assert stream.tolist() == [token for document in documents for token in tokenizer(document)["input_ids"]]
