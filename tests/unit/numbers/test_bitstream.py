"""The bit stream: equal to one big integer a row, and lossless at every width."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ptqbench.numbers.bitstream import Stream, pack, unpack


def codes(m: int, n: int, bits: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 2**bits, (m, n), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@settings(max_examples=150, deadline=None)
@given(m=st.integers(1, 4), n=st.integers(1, 77), bits=st.integers(2, 8), seed=st.integers(0, 1000))
def test_round_trip_and_size(m: int, n: int, bits: int, seed: int) -> None:
    given_codes = codes(m, n, bits, seed)
    words = pack(given_codes, bits)
    assert words.dtype == torch.int32
    assert words.shape == (m, -(-n * bits // 32))
    assert torch.equal(unpack(words, bits, n), given_codes)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("n", [1, 5, 31, 32, 33, 64, 75])
def test_is_one_little_endian_integer_a_row(bits: int, n: int) -> None:
    given_codes = codes(3, n, bits)
    for row, words in zip(given_codes.tolist(), pack(given_codes, bits).tolist(), strict=True):
        stream = sum(code << (bits * i) for i, code in enumerate(row))
        assert [word % 2**32 for word in words] == [(stream >> (32 * w)) % 2**32 for w in range(len(words))]


@pytest.mark.parametrize("bits", range(2, 9))
def test_all_ones_survive(bits: int) -> None:
    full = torch.full((2, 45), 2**bits - 1, dtype=torch.uint8)
    assert torch.equal(unpack(pack(full, bits), bits, 45), full)


@pytest.mark.parametrize("bits", range(2, 9))
def test_a_stream_knows_its_codes(bits: int) -> None:
    given_codes = codes(5, 70, bits)
    stream = Stream(pack(given_codes, bits), bits, 70)
    assert stream.shape == given_codes.shape
    assert torch.equal(stream.codes(), given_codes)
