"""The rotations of a model: stored and made again to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ptqbench.linalg.orthogonal import Rotation, as_matrix, random_hadamard
from ptqbench.linalg.rotations import Rotations

HEADS = (None, random_hadamard(4, 2).matrix(), random_hadamard(4, 3).matrix())


@pytest.mark.parametrize("r1", [random_hadamard(24, 1), random_hadamard(24, 1).matrix()], ids=["drawn", "learned"])
def test_what_is_stored_is_what_was_done(tmp_path: Path, r1: Rotation) -> None:
    given = Rotations(r1, HEADS, range(1, 3), {"loss": 0.5})
    save_file(given.state(), tmp_path / "rotations.safetensors")
    found = Rotations.from_state(load_file(tmp_path / "rotations.safetensors"))
    assert torch.equal(as_matrix(found.r1), as_matrix(r1))
    assert found.blocks == given.blocks
    assert [two is None for two in found.r2] == [True, False, False]
    for one, two in zip(found.r2[1:], HEADS[1:], strict=True):
        assert one is not None
        assert torch.equal(one, two)


def test_others_in_the_places_of_its_matrices() -> None:
    given = Rotations(torch.eye(3), HEADS, range(1, 3))
    found = given.with_matrices(2 * matrix for matrix in given.matrices())
    assert torch.equal(found.r1, 2 * torch.eye(3))
    assert found.r2[0] is None
    assert [torch.equal(one, 2 * two) for one, two in zip(found.matrices()[1:], HEADS[1:], strict=True)] == [True, True]
