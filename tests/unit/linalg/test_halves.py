"""The Triton kernel that splits a matrix into two of float16 against its plain twin: the same numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ptqbench.linalg.halves import LIFT, split_plain

pytest.importorskip("triton")

from ptqbench.linalg.halves_triton import launch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LAYOUTS = {
    "plain": lambda x: x,
    "transposed": lambda x: x.T.contiguous().T,
    "rows": lambda x: torch.cat([x] * 8)[5 : 5 + len(x)],
    "columns": lambda x: torch.cat([x] * 5, 1)[:, 3 : 3 + x.shape[1]],
    "columns, transposed": lambda x: torch.cat([x.T] * 5, 1)[:, 3 : 3 + len(x)].T,
}


def given(m: int, n: int, dim: int, layout: str = "plain") -> tuple[Tensor, Tensor]:
    x = torch.randn(m, n, generator=torch.Generator().manual_seed(m)) * torch.logspace(-6, 3, n)
    x[0] = 0.0
    x = LAYOUTS[layout](x)
    return x, x.abs().amax(dim, keepdim=True).clamp(min=1e-30)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (7, 30), (20, 600)])
def test_equals_its_twin(m: int, n: int, dim: int, layout: str) -> None:
    x, unit = given(m, n, dim, layout)
    high, low = (found.cpu() for found in launch(x.to(DEVICE), unit.to(DEVICE), None))
    expected = split_plain(x, unit)
    assert torch.equal(high, expected[0])
    assert torch.equal(low, expected[1])
    assert high.dtype == low.dtype == torch.float16
    assert m == 1 or (high.stride(0) < high.stride(1)) == (x.stride(0) < x.stride(1)), (
        "products read it as they would x"
    )
    assert ((high.double() + low.double() / LIFT) * unit - x).abs().max() <= 2.0**-21 * x.abs().max()


@pytest.mark.parametrize("layout", ["plain", "transposed"])
def test_writes_into_rows_of_others(layout: str) -> None:
    x, unit = given(9, 40, 0)
    high, low = (LAYOUTS[layout](torch.full((30, 40), 7.0, dtype=torch.float16)).to(DEVICE) for _ in range(2))
    launch(x.to(DEVICE), unit.to(DEVICE), (high[4:13], low[4:13]))
    expected = split_plain(x, unit)
    for found, wanted in zip((high.cpu(), low.cpu()), expected, strict=True):
        assert torch.equal(found[4:13], wanted)
        assert (found[:4] == 7).all()
        assert (found[13:] == 7).all()


def test_one_unit_for_all() -> None:
    x, _ = given(9, 40, 0)
    one = torch.tensor(2048.0)
    for found, wanted in zip(launch(x.to(DEVICE), one.to(DEVICE), None), split_plain(x, one), strict=True):
        assert torch.equal(found.cpu(), wanted)
