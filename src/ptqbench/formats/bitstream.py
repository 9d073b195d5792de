"""Codes as a dense little-endian bit stream in int32 words: value ``i`` of a row holds bits ``[b·i, b·i + b)``.

GPTQ's 3-bit layout and compressed-tensors' (0.18 and later) are this stream (docs of both; checked in the tests).
"""

from __future__ import annotations

import torch
from torch import Tensor

WORD = 32  # bits


def pack(codes: Tensor, bits: int) -> Tensor:
    """Pack uint8 codes ``[m, n]`` into int32 words ``[m, ceil(n·bits / 32)]``; the last word is padded with zeros."""
    m, n = codes.shape
    runs = -(-n // WORD)  # WORD values fill as many words as a value has bits
    values = torch.nn.functional.pad(codes, (0, runs * WORD - n)).view(m, runs, WORD)
    stream = torch.zeros(m, runs, bits, dtype=torch.int32, device=codes.device)
    for index in range(WORD):
        word, shift = divmod(index * bits, WORD)
        value = values[..., index].to(torch.int32)
        stream[..., word] |= value << shift
        if shift + bits > WORD:
            stream[..., word + 1] |= value >> (WORD - shift)
    return stream.flatten(1)[:, : -(-n * bits // WORD)].contiguous()


def unpack(words: Tensor, bits: int, n: int) -> Tensor:
    """The first ``n`` codes, uint8 ``[m, n]``, of a stream of int32 words."""
    stream = torch.nn.functional.pad(words.to(torch.int64) & 0xFFFFFFFF, (0, 1))
    position = torch.arange(n, device=words.device) * bits
    word, shift = position // 32, position % 32
    both = stream[:, word] | (stream[:, word + 1] << 32)
    return ((both >> shift) & (2**bits - 1)).to(torch.uint8)
