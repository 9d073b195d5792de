"""Products by parts are as accurate as float32's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ptqbench.linalg import product as module
from ptqbench.linalg.halves import LIFT
from ptqbench.linalg.product import Parts, add_product, hold, multiply, parts, product, put


def random(*size: int) -> Tensor:
    generator = torch.Generator().manual_seed(size[0])
    return torch.randn(*size, generator=generator) * torch.logspace(-3, 3, size[1])


def error(found: Tensor, a: Tensor, b: Tensor) -> float:
    """The largest error, relative to what the terms add up to without their signs."""
    expected, size = a.double() @ b.double(), a.abs().double() @ b.abs().double()
    return ((found.double() - expected).abs() / size).max().item()


@pytest.mark.parametrize("dim", [0, 1])
def test_parts_add_up(dim: int) -> None:
    x = random(50, 40)
    x[3] = 0.0
    high, low, unit = parts(x, dim)
    assert high.dtype == low.dtype == torch.float16
    back = (high.double() + low.double() / LIFT) * unit.double()
    assert ((back - x.double()).abs() <= 2.0**-21 * x.abs() + 2.0**-34 * unit).all()
    assert (high.double() * unit - x.double()).abs().max() > 1e-5 * x.abs().max(), "float16 alone"


@pytest.mark.parametrize("depth", [64, 4096])
@pytest.mark.parametrize("transposed", [False, True])
def test_is_as_accurate_as_float32(transposed: bool, depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEPTH", depth)
    a, b = random(64, 300), random(300, 48)
    a = a.T.contiguous().T if transposed else a
    left, right = parts(a, 1), parts(b, 0)
    assert error(multiply(left, right), a, b) < 2 * error(a @ b, a, b)
    assert error(left.unit * (left.high.float() @ right.high.float()) * right.unit, a, b) > 1e-5, "float16 alone"


def test_elsewhere_it_is_the_plain_product() -> None:
    a, b = random(5, 7), random(7, 3)
    assert torch.equal(product(a, hold(b)), a @ b)
    out = torch.ones(5, 3)
    add_product(out, a, b)
    assert torch.equal(out, torch.ones(5, 3).addmm_(a, b))


def test_a_gpu_adds_by_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "by_parts", lambda x: True)
    a, b = random(64, 300), random(300, 48)
    assert error(product(a, hold(b)), a, b) < 2e-7
    out = torch.zeros(64, 48)
    add_product(out, a, b)
    assert error(out, a, b) < 2e-7
    add_product(out, a, -b)
    assert error(out + a @ b, a, b) < 4e-7


@pytest.mark.parametrize("on_gpu", [False, True])
def test_rows_of_a_held_factor_change(on_gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "by_parts", lambda x: on_gpu)
    a, b = random(64, 300), random(300, 48)
    other = b.clone()
    other[100:140] *= 3
    held = hold(b.clone())
    assert isinstance(held, Parts) == on_gpu
    put(held, slice(100, 140), other[100:140])
    assert error(product(a, held), a, other) < 2e-7
