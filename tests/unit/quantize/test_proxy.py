"""The proxy loss is the mean squared output error on the tokens that H was made of."""

from __future__ import annotations

import torch
from small_problems import inputs

from ptqbench.quantize.proxy import proxy_loss


def test_is_the_mean_squared_output_error_per_row() -> None:
    x = inputs(12, 50)
    delta = torch.randn(5, 12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected = (x @ delta.T).square().mean(0)
    torch.testing.assert_close(proxy_loss(delta, x.T @ x / len(x)), expected, rtol=1e-12, atol=0)


def test_sums_single_precision_in_double() -> None:
    assert proxy_loss(torch.ones(2, 3), torch.eye(3)).dtype == torch.float64
    assert proxy_loss(torch.zeros(2, 3), torch.eye(3)).tolist() == [0.0, 0.0]
