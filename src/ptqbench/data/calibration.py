"""Calibration sets: random crops of a corpus, as tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ptqbench.errors import UserError


def sample(
    documents: Sequence[str], separator: str, tokenize: Callable[[str], list[int]], samples: int, length: int, seed: int
) -> np.ndarray:
    """``samples`` random crops of ``length`` tokens, int32 ``[samples, length]``, deterministic for a seed.

    Documents at least one crop long are sampled one crop each, as the GPTQ reference samples C4; a corpus without
    ``samples`` such documents is joined first and cropped anywhere, as it samples WikiText-2.
    """
    rng = np.random.default_rng(seed)
    crops = _crops_of_documents(documents, tokenize, samples, length, rng)
    if len(crops) < samples:
        stream = np.asarray(tokenize(separator.join(documents)), dtype=np.int32)
        if len(stream) < length:
            raise UserError(
                f"the corpus has {len(stream)} tokens, fewer than one sequence_length of {length}: "
                f"give more text, or set sequence_length to at most {len(stream)}"
            )
        starts = rng.integers(0, len(stream) - length + 1, samples)
        crops = [stream[start : start + length] for start in starts]
    return np.stack(crops).astype(np.int32)


def _crops_of_documents(
    documents: Sequence[str], tokenize: Callable[[str], list[int]], samples: int, length: int, rng: np.random.Generator
) -> list[np.ndarray]:
    crops: list[np.ndarray] = []
    if len(documents) < samples:
        return crops
    for index in rng.permutation(len(documents)):
        if len(documents[index]) >= length:  # a token is at least a byte: shorter texts cannot fill a crop
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
