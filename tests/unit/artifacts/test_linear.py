"""A quantized linear: stored and read back as it was, and the weight that it stands for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ptqbench.artifacts.linear import QuantizedLinear, packed_bytes
from ptqbench.linalg.basis import Basis
from ptqbench.linalg.orthogonal import block_hadamard, kronecker, random_hadamard

M, N, WIDTH = 6, 24, 8


def linear(bits: int = 3, symmetric: bool = False, **parts: object) -> QuantizedLinear:
    generator = torch.Generator().manual_seed(bits)
    codes = torch.randint(0, 2**bits, (M, N), generator=generator, dtype=torch.uint8)
    zero = torch.randint(0, 2**bits, (M, N // WIDTH), generator=generator, dtype=torch.uint8)
    scale = (torch.rand(M, N // WIDTH, generator=generator) + 0.1).bfloat16().float()
    return QuantizedLinear(codes, scale, zero, bits, symmetric, Basis(**parts))  # type: ignore[arg-type]


PARTS = {
    "plain": {},
    "scaled": {"scale": torch.linspace(0.5, 2.0, N)},
    "kronecker": {"right": kronecker(N, 1), "left": kronecker(M, 2)},
    "all": {"scale": torch.linspace(0.5, 2.0, N), "right": random_hadamard(N, 3), "left": kronecker(M, 4)},
}


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS.keys())
def test_state_round_trip_through_a_file(tmp_path: Path, parts: dict[str, object], bits: int) -> None:
    given = linear(bits, symmetric=bits % 2 == 0, **parts)
    save_file(given.state("0.mlp.up") | given.input_state("mlp"), tmp_path / "linear.safetensors")
    found = QuantizedLinear.from_state(load_file(tmp_path / "linear.safetensors"), "0.mlp.up", "mlp")
    assert torch.equal(found.codes, given.codes)
    assert torch.equal(found.scale, given.scale)
    assert torch.equal(found.zero, given.zero)
    assert (found.bits, found.symmetric, found.group_size) == (bits, bits % 2 == 0, WIDTH)
    assert torch.equal(found.dequantize(), given.dequantize())


def test_linears_that_share_their_input_side_are_saved_together(tmp_path: Path) -> None:
    shared = {"scale": torch.linspace(0.5, 2.0, N), "right": kronecker(N, 1)}
    query, key = linear(3, **shared), linear(4, **shared)
    save_file(query.state("q") | key.state("k") | key.input_state("attention"), tmp_path / "block.safetensors")
    stored = load_file(tmp_path / "block.safetensors")
    assert sum("channel_scale" in name for name in stored) == sum("kronecker" in name for name in stored) == 1
    for name, expected in (("q", query), ("k", key)):
        assert torch.equal(QuantizedLinear.from_state(stored, name, "attention").dequantize(), expected.dequantize())


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS.keys())
def test_weight_is_what_the_parts_say(parts: dict[str, object]) -> None:
    given = linear(4, **parts)
    steps = given.codes.double().view(M, -1, WIDTH) - given.zero.double().unsqueeze(-1)
    expected = (steps * given.scale.double().unsqueeze(-1)).flatten(1)
    if given.basis.left is not None:
        expected = given.basis.left.matrix() @ expected
    if given.basis.right is not None:
        expected = expected @ given.basis.right.matrix().T
    if given.basis.scale is not None:
        expected = expected / given.basis.scale
    torch.testing.assert_close(given.dequantize().double(), expected, rtol=1e-5, atol=1e-5)


def test_size_counts_codes_scales_and_the_zeros_of_asymmetric_grids() -> None:
    assert packed_bytes([linear(3)]) == (M * N * 3 + 16 * M * 3 + M * 3 * 3 + 7) // 8
    assert packed_bytes([linear(3, symmetric=True)]) == (M * N * 3 + 16 * M * 3) // 8
    assert packed_bytes([linear(3, scale=torch.ones(N))]) - packed_bytes([linear(3)]) == 2 * N


def test_size_counts_a_seed_for_each_output_side_and_what_a_site_shares_once() -> None:
    plain = packed_bytes([linear(3), linear(4)])
    sides = [linear(bits, left=kronecker(M, bits)) for bits in (3, 4)]
    assert packed_bytes(sides) - plain == 2 * 8
    shared = {"scale": torch.ones(N), "right": random_hadamard(N, 1)}
    assert packed_bytes([linear(3, **shared), linear(4, **shared)]) - plain == 2 * N + 8
    assert packed_bytes([linear(3, right=block_hadamard(N)), linear(4, right=block_hadamard(N))]) == plain


@pytest.mark.parametrize("make", [kronecker, random_hadamard])
@pytest.mark.parametrize("n", [256, 512, 4096])
def test_incoherent_weights_take_what_others_take(n: int, make: type[kronecker]) -> None:
    """2 bits in groups of 128 are 2.125 bits per weight; two seeds of 8 bytes are nothing beside 64 kB of codes."""
    codes, grid = torch.zeros(n, n, dtype=torch.uint8), torch.ones(n, n // 128)
    found = QuantizedLinear(codes, grid, 1.5 * grid, 2, False, Basis(None, make(n, 0), make(n, 1)))
    assert 8 * packed_bytes([found]) / n**2 == pytest.approx(2.125, abs=0.002)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_half_integer_zero_survives_storage_and_bfloat16(tmp_path: Path, bits: int) -> None:
    given = linear(bits)
    given.zero = torch.full_like(given.scale, (2**bits - 1) / 2)
    save_file(given.state("up"), tmp_path / "linear.safetensors")
    found = QuantizedLinear.from_state(load_file(tmp_path / "linear.safetensors"), "up", "mlp")
    assert found.half_integer
    expected = (given.codes.double().view(M, -1, WIDTH) - (2**bits - 1) / 2) * given.scale.double().unsqueeze(-1)
    assert torch.equal(found.dequantize().double(), expected.flatten(1))
    assert torch.equal(found.dequantize(torch.bfloat16), expected.flatten(1).bfloat16())
    assert packed_bytes([found]) == packed_bytes([linear(bits, symmetric=True)])


def test_codes_that_were_read_are_neither_unpacked_nor_packed() -> None:
    given = linear()
    stored = given.state("up")
    read = QuantizedLinear.from_state(stored, "up", "site")
    assert read.words is stored["up.codes"]
    assert read.shape == given.shape
    assert torch.equal(read.codes, given.codes)
