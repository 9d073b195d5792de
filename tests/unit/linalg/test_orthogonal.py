"""Structured orthogonal transforms: orthogonal, invertible, reproducible, and what they are for."""

from __future__ import annotations

import math

import pytest
import torch

from ptqbench.linalg.orthogonal import (
    Hadamard,
    Kronecker,
    Orthogonal,
    block_hadamard,
    from_state,
    kronecker,
    made,
    random_hadamard,
    split_factors,
)

TRANSFORMS = {
    "hadamard 64": random_hadamard(64, 1),
    "hadamard 96": random_hadamard(96, 2),  # 12 · 8
    "hadamard 56": random_hadamard(56, 3),  # 28 · 2, over GF(27)
    "no hadamard 172": random_hadamard(172, 4),
    "kronecker 60": kronecker(60, 5),
    "kronecker prime": kronecker(13, 6),
    "block 48": block_hadamard(48),
}


def sample(n: int) -> torch.Tensor:
    return torch.randn(2, 3, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
def test_is_orthogonal_and_its_matrix(transform: Orthogonal) -> None:
    matrix = transform.matrix()
    n = len(matrix)
    assert matrix.dtype == torch.float64
    assert (matrix @ matrix.T - torch.eye(n)).abs().max() < 1e-12
    assert (matrix - torch.eye(n)).abs().max() > 0.1
    x = sample(n)
    torch.testing.assert_close(transform.apply(x), x @ matrix)
    torch.testing.assert_close(transform.inverse(x), x @ matrix.T)
    torch.testing.assert_close(transform.apply_left(x[0].T), matrix.T @ x[0].T)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
def test_inverse_undoes_apply_in_the_given_dtype(transform: Orthogonal, dtype: torch.dtype) -> None:
    x = sample(len(transform.matrix())).to(dtype)
    moved = transform.apply(x)
    assert moved.dtype == dtype
    error = (transform.inverse(moved) - x).abs().max().item()
    assert error < {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.06}[dtype]


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
def test_state_restores_it(transform: Orthogonal) -> None:
    stored = {key: tensor.clone() for key, tensor in transform.origin.state().items()}
    made.cache_clear()
    found = from_state(stored)
    assert type(found) is type(transform)
    assert torch.equal(found.matrix(), transform.matrix())
    assert found.origin == transform.origin == transform.to(torch.device("cpu")).origin
    numbers = sum(tensor.numel() for tensor in stored.values())
    assert numbers * 64 == 64 + transform.origin.bits, "the order, which the weight tells, and a seed"


@pytest.mark.parametrize("make", [kronecker, random_hadamard])
def test_a_seed_decides_it(make: type[kronecker]) -> None:
    assert torch.equal(make(96, 7).matrix(), make(96, 7).matrix())
    assert not torch.equal(make(96, 7).matrix(), make(96, 8).matrix())


def test_falls_back_to_kronecker_where_no_hadamard_matrix_is_known() -> None:
    assert isinstance(random_hadamard(96, 0), Hadamard)
    assert isinstance(random_hadamard(172, 0), Kronecker)


def test_hadamard_spreads_one_coordinate_evenly() -> None:
    spread = random_hadamard(56, 0).apply(torch.eye(56, dtype=torch.float64)[0])
    torch.testing.assert_close(spread.abs(), torch.full((56,), 1 / math.sqrt(56), dtype=torch.float64))


@pytest.mark.parametrize("make", [kronecker, random_hadamard])
def test_both_make_an_outlier_matrix_incoherent(make: type[kronecker]) -> None:
    weight = torch.randn(64, 96, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight[:, 5] *= 40
    weight[7] *= 20
    moved = make(96, 1).apply(make(64, 2).apply(weight.T).T)

    def peak(matrix: torch.Tensor) -> float:
        return (matrix.abs().max() / matrix.square().mean().sqrt()).item()

    assert peak(weight) > 25
    assert peak(moved) < 10
    torch.testing.assert_close(moved.norm(), weight.norm())


@pytest.mark.parametrize("n", [1, 2, 13, 60, 4096, 10944, 11008])
def test_factors_multiply_to_the_width(n: int) -> None:
    p, q = split_factors(n)
    assert p * q == n


def test_block_hadamard_acts_on_power_of_two_blocks() -> None:
    matrix = block_hadamard(48).matrix()
    for row in range(3):
        for column in range(3):
            block = matrix[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            assert (block.abs().max() > 0) == (row == column)
