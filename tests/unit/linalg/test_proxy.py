"""The proxy loss is the mean squared output error on the tokens that H was made of."""

from __future__ import annotations

import pytest
import torch
from small_problems import inputs

from ptqbench.linalg import proxy
from ptqbench.linalg.proxy import correlations, exact_loss, proxy_loss, quick_error, quick_loss


def test_is_the_mean_squared_output_error_per_row() -> None:
    x = inputs(12, 50)
    delta = torch.randn(5, 12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected = (x @ delta.T).square().mean(0)
    torch.testing.assert_close(proxy_loss(delta, x.T @ x / len(x)), expected, rtol=1e-12, atol=0)


def test_sums_single_precision_in_double() -> None:
    assert proxy_loss(torch.ones(2, 3), torch.eye(3)).dtype == torch.float64
    assert proxy_loss(torch.zeros(2, 3), torch.eye(3)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("kind", ["white", "one direction", "few directions", "outliers"])
@pytest.mark.parametrize("step", [1e-3, 0.01, 0.06])
def test_the_losses_on_a_gpu_are_those_of_the_site(kind: str, step: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "BLOCK", 96)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1024, 256, generator=generator)
    if kind == "one direction":
        x = 0.3 * x + torch.randn(256, generator=generator)
    if kind == "few directions":
        x = 0.05 * x + torch.randn(1024, 8, generator=generator) @ torch.randn(8, 256, generator=generator)
    if kind == "outliers":
        x[:, :3] *= 100
    x[:, 7] = 0
    hessian, weight = x.T @ x / 1024, 0.02 * torch.randn(2048, 256, generator=generator)
    delta = weight - (weight / step).round() * step
    expected = proxy_loss(delta.double(), hessian.double())
    found = quick_loss(delta, correlations(hessian))
    assert abs(found.sum() / expected.sum() - 1) < quick_error(len(weight), hessian)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=1e-3 * expected.mean().item())
    accurate = exact_loss(delta, hessian)
    torch.testing.assert_close(accurate, expected, rtol=1e-4, atol=1e-6 * expected.mean().item())
    assert abs(accurate.sum() / expected.sum() - 1) < 1e-6
    for none in (quick_loss(torch.zeros(3, 256), correlations(hessian)), exact_loss(torch.zeros(3, 256), hessian)):
        assert none.tolist() == [0.0] * 3


def test_the_quick_error_is_that_of_what_inputs_have_in_common() -> None:
    assert quick_error(100, torch.eye(64)) == pytest.approx(proxy.LEAST_ERROR)
    alike = quick_error(100, torch.ones(64, 64))
    assert alike == pytest.approx(proxy.ERROR / 10, rel=0.02)
    assert quick_error(400, torch.ones(64, 64)) == pytest.approx(alike / 2, rel=0.01)
    assert quick_error(100, torch.diag_embed(torch.logspace(-3, 3, 64)) + 1e-3) < 1e-4 * alike + 1e-5


def test_a_gpu_measures_many_rows_quickly_and_few_accurately(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "by_parts", lambda x: x.dtype == torch.float32)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 64, generator=generator) + 1
    delta, hessian = torch.randn(proxy.FEWEST, 64, generator=generator), x.T @ x / 400
    expected = proxy_loss(delta.double(), hessian.double())
    quick = proxy_loss(delta, hessian)
    torch.testing.assert_close(quick, quick_loss(delta, correlations(hessian)), rtol=0, atol=0)
    assert (quick / expected - 1).abs().max() > 1e-4
    torch.testing.assert_close(proxy_loss(delta, hessian, exact=True), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(proxy_loss(delta[1:], hessian), expected[1:], rtol=1e-5, atol=0)
