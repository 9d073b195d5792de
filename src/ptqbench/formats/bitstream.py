"""Codes as a dense little-endian bit stream in int32 words: value ``i`` of a row holds bits ``[b·i, b·i + b)``.

GPTQ's 3-bit layout and compressed-tensors' (0.18 and later) are this stream (docs of both; checked in the tests).
"""

from __future__ import annotations

import torch
from torch import Tensor


def pack(codes: Tensor, bits: int) -> Tensor:
    """Pack uint8 codes ``[m, n]`` into int32 words ``[m, ceil(n·bits / 32)]``; the last word is padded with zeros."""
    m, n = codes.shape
    words = -(-n * bits // 32)
    position = torch.arange(n, device=codes.device) * bits
    word, shift = position // 32, position % 32
    values = codes.to(torch.int64)
    stream = torch.zeros(m, words + 1, dtype=torch.int64, device=codes.device)
    low = (values << shift) & 0xFFFFFFFF
    high = values >> (32 - shift)  # what spills into the next word
    stream.index_add_(1, word, low)
    stream.index_add_(1, word + 1, high)
    signed = stream[:, :words]
    return torch.where(signed >= 2**31, signed - 2**32, signed).to(torch.int32)


def unpack(words: Tensor, bits: int, n: int) -> Tensor:
    """The first ``n`` codes, uint8 ``[m, n]``, of a stream of int32 words."""
    stream = torch.nn.functional.pad(words.to(torch.int64) & 0xFFFFFFFF, (0, 1))
    position = torch.arange(n, device=words.device) * bits
    word, shift = position // 32, position % 32
    both = stream[:, word] | (stream[:, word + 1] << 32)
    return ((both >> shift) & (2**bits - 1)).to(torch.uint8)
