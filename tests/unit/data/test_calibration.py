"""The sampler: deterministic, of the right shape, and every crop is a passage of the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptqbench.data.calibration import read_tokens, write_tokens
from ptqbench.data.calibration import sample as drawn_by_rule
from ptqbench.data.corpora import Corpus
from ptqbench.errors import UserError


def sample(documents: list[str], separator: str, *arguments: Any, **settings: Any) -> np.ndarray:
    """Of a file, by our own rule."""
    return drawn_by_rule(Corpus(documents, separator), *arguments, **settings)[0]


def tokenize(text: str) -> list[int]:
    """A token a byte, after a BOS of 0."""
    return [0, *text.encode()]


def joined(n: int = 1000) -> list[str]:
    """One document of distinct consecutive characters' bytes, so that a crop tells where it came from."""
    return ["".join(chr(33 + index * 7 % 90) for index in range(n))]


def test_a_joined_corpus_is_cropped_anywhere() -> None:
    documents = joined()
    crops = sample(documents, "\n\n", tokenize, samples=50, length=16, seed=0)
    stream = np.asarray(tokenize(documents[0]), dtype=np.int32)
    assert crops.shape == (50, 16)
    assert crops.dtype == np.int32
    passages = {stream[start : start + 16].tobytes() for start in range(len(stream) - 15)}
    assert all(crop.tobytes() in passages for crop in crops)
    assert len({crop.tobytes() for crop in crops}) > 30


def test_the_whole_text_can_be_one_crop() -> None:
    crops = sample(["abc"], "\n\n", tokenize, samples=3, length=4, seed=0)
    assert crops.tolist() == [[0, 97, 98, 99]] * 3


def test_long_documents_give_one_crop_each_and_short_ones_none() -> None:
    documents = [letter * 40 for letter in "abcdefgh"] + ["z" * 10] * 50
    crops = sample(documents, "\n\n", tokenize, samples=8, length=32, seed=0)
    letters = [max(set(crop.tolist()) - {0}) for crop in crops]
    assert sorted(letters) == [ord(letter) for letter in "abcdefgh"]


def test_too_few_long_documents_are_joined() -> None:
    documents = ["a" * 40] * 3 + ["z" * 10] * 50
    crops = sample(documents, " ", tokenize, samples=8, length=64, seed=0)
    assert crops.shape == (8, 64)
    assert ord(" ") in crops


def test_length_is_counted_in_tokens_not_characters() -> None:
    """A document with enough bytes but too few tokens is passed over."""
    documents = ["a" * 40] * 10 + ["b" * 80] * 4
    halved = lambda text: [0, *text.encode()[::2]]  # noqa: E731
    crops = sample(documents, "", halved, samples=4, length=32, seed=0)
    assert set(crops.flatten()) <= {0, ord("b")}


def test_characters_of_several_bytes_may_fill_a_crop() -> None:
    crops, rule = drawn_by_rule(Corpus(["ü" * 20, "a" * 20] * 3), tokenize, samples=3, length=32, seed=0)
    assert rule == "documents"
    assert ord("a") not in crops


@pytest.mark.parametrize("documents", [joined(), [letter * 100 for letter in "abcdefghijklmnop"]])
def test_a_seed_is_a_sample(documents: list[str]) -> None:
    drawn = [sample(documents, "", tokenize, samples=8, length=32, seed=seed) for seed in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_too_short_a_text() -> None:
    expected = r"^the corpus has 4 tokens, fewer than one sequence_length of 5: .* to at most 4$"
    with pytest.raises(UserError, match=expected):
        sample(["abc"], "", tokenize, samples=1, length=5, seed=0)


def test_tokens_survive_the_disk(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(0, 2**31 - 1, (5, 7), dtype=np.int32)
    write_tokens(tmp_path / "t.parquet", tokens)
    found = read_tokens(tmp_path / "t.parquet")
    assert np.array_equal(found, tokens)
    assert found.dtype == np.int32
    assert found.flags.writeable


def test_equal_tokens_are_equal_files(tmp_path: Path) -> None:
    tokens = np.arange(35, dtype=np.int32).reshape(5, 7)
    for name in ("a", "b"):
        write_tokens(tmp_path / name, tokens)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
