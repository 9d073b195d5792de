"""Products by parts are as accurate as float32's own."""

from __future__ import annotations

import pytest
import torch

from ptqbench.quantize.product import DROPPED, add_parts, add_product, parts, product


def random(*size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(size[0])
    return torch.randn(*size, generator=generator) * torch.logspace(-3, 3, size[1])


def test_parts_are_what_tf32_holds_and_the_rest() -> None:
    x = torch.cat([random(50, 40).flatten(), torch.tensor([0.0, 1.0, -1.0, 3e38, 1e-30, 2.0**-126])])
    high, low = parts(x)
    assert (high.view(torch.int32) & ((1 << DROPPED) - 1) == 0).all()
    assert torch.equal(high.double() + low.double(), x.double())
    assert (low.abs() <= x.abs() * 2.0**-11).all()


@pytest.mark.parametrize("transposed", [False, True])
def test_the_smallest_product_does_not_matter(transposed: bool) -> None:
    a, b = random(64, 300), random(300, 48)
    a = a.T.contiguous().T if transposed else a
    expected, size = a.double() @ b.double(), a.abs().double() @ b.abs().double()
    found = add_parts(torch.zeros(64, 48), a, b).double()
    assert ((found - expected).abs() / size).max() < 2e-7
    high = (parts(a)[0] @ parts(b)[0]).double()
    assert ((high - expected).abs() / size).max() > 1e-5, "tf32 alone"


def test_elsewhere_it_is_the_plain_product() -> None:
    a, b = random(5, 7), random(7, 3)
    assert torch.equal(product(a, b), a @ b)
    out = torch.ones(5, 3)
    add_product(out, a, b)
    assert torch.equal(out, torch.ones(5, 3).addmm_(a, b))
