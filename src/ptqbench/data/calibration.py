"""Calibration sets: random crops of a corpus, as tokens."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ptqbench.data.corpora import Corpus
from ptqbench.errors import UserError

Tokenize = Callable[[str], list[int]]


def sample(corpus: Corpus, tokenize: Tokenize, samples: int, length: int, seed: int) -> tuple[np.ndarray, str]:
    """Crops of ``length`` tokens, int32 ``[n, length]``, deterministic for a seed, and the rule that made them.

    The hub's sets have the rule of their reference. Of a file, documents at least one crop long give one crop each; a
    file without ``samples`` such documents is joined and cropped anywhere. ``n`` is ``samples`` but for ``blocks``.
    """
    rules = {"stream": of_stream, "documents": of_documents, "blocks": of_blocks}
    if corpus.crops:
        return np.stack(rules[corpus.crops](corpus, tokenize, samples, length, seed)).astype(np.int32), corpus.crops
    rng = np.random.default_rng(seed)
    crops, rule = _crops_of_documents(corpus.documents, tokenize, samples, length, rng), "documents"
    if len(crops) < samples:
        stream = _stream(corpus, tokenize, length)
        starts = rng.integers(0, len(stream) - length + 1, samples)
        crops, rule = [stream[start : start + length] for start in starts], "stream"
    return np.stack(crops).astype(np.int32), rule


def of_stream(corpus: Corpus, tokenize: Tokenize, samples: int, length: int, seed: int) -> list[np.ndarray]:
    """GPTQ's WikiText-2 and PTB: crops of all documents joined, by Python's generator (``datautils.py``)."""
    stream, draw = _stream(corpus, tokenize, length + 1), random.Random(seed)
    starts = (draw.randint(0, len(stream) - length - 1) for _ in range(samples))
    return [stream[start : start + length] for start in starts]


def of_documents(corpus: Corpus, tokenize: Tokenize, samples: int, length: int, seed: int) -> list[np.ndarray]:
    """GPTQ's C4: a crop of a document that is longer, drawn with replacement, by Python's generator.

    Raises :class:`UserError` where no document is long enough.
    """
    draw, crops, short = random.Random(seed), list[np.ndarray](), set[int]()
    while len(crops) < samples:
        index = draw.randint(0, len(corpus.documents) - 1)
        tokens = np.asarray(tokenize(corpus.documents[index]), dtype=np.int32)
        if len(tokens) > length:
            start = draw.randint(0, len(tokens) - length - 1)
            crops.append(tokens[start : start + length])
            continue
        short.add(index)
        if len(short) == len(corpus.documents):
            raise UserError(f"no document has more than {length} tokens: set sequence_length lower")
    return crops


def of_blocks(corpus: Corpus, tokenize: Tokenize, samples: int, length: int, seed: int) -> list[np.ndarray]:
    """AWQ's Pile: the first ``samples`` of the shuffled documents that fit into a block, joined and cut into blocks.

    So there are fewer blocks than samples. AWQ's seed is 42, its length 512.
    Raises :class:`UserError` where they make less than one block.
    """
    kept: list[np.ndarray] = []
    for index in np.random.default_rng(seed).permutation(len(corpus.documents)):  # as `datasets` shuffles
        tokens = np.asarray(tokenize(corpus.documents[int(index)].strip()), dtype=np.int32)
        kept += [tokens] if 0 < len(tokens) <= length else []
        if len(kept) == samples:
            break
    stream = np.concatenate([np.empty(0, dtype=np.int32), *kept])
    if len(stream) < length:
        raise UserError(
            f"{len(kept)} documents of at most {length} tokens have {len(stream)} together, less than one "
            "sequence_length: set samples higher"
        )
    return list(stream[: len(stream) // length * length].reshape(-1, length))


def _stream(corpus: Corpus, tokenize: Tokenize, length: int) -> np.ndarray:
    stream = np.asarray(tokenize(corpus.stream), dtype=np.int32)
    if len(stream) < length:
        raise UserError(
            f"the corpus has {len(stream)} tokens, fewer than one sequence_length of {length}: "
            f"give more text, or set sequence_length to at most {len(stream)}"
        )
    return stream


def _crops_of_documents(
    documents: Sequence[str], tokenize: Tokenize, samples: int, length: int, rng: np.random.Generator
) -> list[np.ndarray]:
    crops: list[np.ndarray] = []
    if len(documents) < samples:
        return crops
    for index in rng.permutation(len(documents)):
        if len(documents[index].encode()) >= length:  # a token is at least a byte: shorter texts cannot fill a crop
            tokens = np.asarray(tokenize(documents[index]), dtype=np.int32)
            if len(tokens) >= length:
                start = int(rng.integers(0, len(tokens) - length + 1))
                crops.append(tokens[start : start + length])
        if len(crops) == samples:
            break
    return crops


def write_tokens(path: Path, tokens: np.ndarray) -> None:
    """Write ``[samples, length]`` token ids as a parquet column of fixed-size lists."""
    values = pa.array(tokens.reshape(-1), type=pa.int32())
    column = pa.FixedSizeListArray.from_arrays(values, tokens.shape[1])
    pq.write_table(pa.table({"tokens": column}), path, compression="zstd")


def read_tokens(path: Path) -> np.ndarray:
    """Token ids ``[samples, length]``, int32."""
    column = pq.read_table(path).column("tokens").combine_chunks()
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1).copy()
