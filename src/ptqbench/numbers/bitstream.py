"""Codes as a dense little-endian bit stream in int32 words: value ``i`` of a row holds bits ``[b·i, b·i + b)``.

GPTQ's 3-bit layout and compressed-tensors' (0.18 and later) are this stream (docs of both; checked in the tests).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

WORD = 32  # bits


class Stream(NamedTuple):
    """Packed codes ``[m, n]``: ``words`` int32 ``[m, ceil(n·bits / 32)]``."""

    words: Tensor
    bits: int
    n: int

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``."""
        return len(self.words), self.n

    def codes(self) -> Tensor:
        """The codes, uint8 ``[m, n]``."""
        return unpack(self.words, self.bits, self.n)


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
    m, runs, mask = len(words), -(-n // WORD), 2**bits - 1
    stream = torch.nn.functional.pad(words, (0, runs * bits - words.shape[1])).view(m, runs, bits)
    codes = torch.empty(m, runs, WORD, dtype=torch.uint8, device=words.device)
    for index in range(WORD):
        word, shift = divmod(index * bits, WORD)
        value = stream[..., word] >> shift  # signed: what comes in from above is masked, or replaced
        if shift + bits > WORD:
            value = (value & (2 ** (WORD - shift) - 1)) | (stream[..., word + 1] << (WORD - shift))
        codes[..., index] = value & mask
    return codes.flatten(1)[:, :n].contiguous()
