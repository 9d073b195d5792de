"""Readers of packed checkpoints as plain loops over bits, written from the layouts' descriptions."""

from __future__ import annotations

import torch
from torch import Tensor

AWQ_COLUMN_OF_NIBBLE = [0, 2, 4, 6, 1, 3, 5, 7]


def field(words: list[int], position: int, bits: int) -> int:
    """Bits ``[position, position + bits)`` of a stream of 32-bit words, the lowest bit of the first word first."""
    value = 0
    for i in range(bits):
        word, bit = divmod(position + i, 32)
        value |= (words[word] >> bit & 1) << i
    return value


def unsigned(tensor: Tensor) -> list[int]:
    """int32 words as they are in memory."""
    return [word % 2**32 for word in tensor.tolist()]


def gptq(packed: dict[str, Tensor], bits: int, version: str, dtype: torch.dtype) -> Tensor:
    """``W [m, n]`` of one linear of a GPTQ checkpoint; version "gptq" stores zero-points minus one, modulo 2^bits."""
    n_words, m = packed["qweight"].shape
    n = n_words * 32 // bits
    columns = [unsigned(packed["qweight"][:, row]) for row in range(m)]
    zeros = [unsigned(words) for words in packed["qzeros"]]
    scales, groups = packed["scales"].tolist(), packed["g_idx"].tolist()
    shift = 1 if version == "gptq" else 0
    weight = torch.empty(m, n, dtype=torch.float64)
    for row in range(m):
        for column in range(n):
            group = groups[column]
            zero = field(zeros[group], row * bits, bits) + shift
            weight[row, column] = scales[group][row] * (field(columns[row], column * bits, bits) - zero)
    return weight.to(dtype)


def awq(packed: dict[str, Tensor], dtype: torch.dtype) -> Tensor:
    """``W [m, n]`` of one linear of an AWQ checkpoint in the GEMM layout."""
    n, n_words = packed["qweight"].shape
    scales = packed["scales"].tolist()
    size = n // len(scales)
    weight = torch.empty(8 * n_words, n, dtype=torch.float64)
    for column in range(n):
        group = column // size
        codes, zeros = unsigned(packed["qweight"][column]), unsigned(packed["qzeros"][group])
        for word in range(n_words):
            for nibble, offset in enumerate(AWQ_COLUMN_OF_NIBBLE):
                row = 8 * word + offset
                step = field(codes, 32 * word + 4 * nibble, 4) - field(zeros, 32 * word + 4 * nibble, 4)
                weight[row, column] = scales[group][row] * step
    return weight.to(dtype)
