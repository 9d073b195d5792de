"""Statistics of a site as they are read and as transforms carry them."""

from __future__ import annotations

import pytest
import torch
from small_problems import inputs

from ptqbench.errors import UserError
from ptqbench.methods.state import SiteStatistics, check_finite
from ptqbench.statistics import hessian, magnitude

CPU = torch.device("cpu")


def tensors(site: str = "attention_in", n: int = 6) -> dict[str, torch.Tensor]:
    x = inputs(n, 40).float()
    found: dict[str, torch.Tensor] = {}
    for accumulator in (hessian, magnitude):
        state = accumulator.start(n, CPU)
        accumulator.update(state, x[:15])
        accumulator.update(state, x[15:])
        found |= {f"{site}.{key}": value for key, value in accumulator.finish(state, 40).items()}
    return found | {f"{site}.tokens": torch.tensor(40)}


def test_reads_what_the_accumulators_wrote() -> None:
    x = inputs(6, 40).float()
    site = SiteStatistics.from_tensors(tensors(), "attention_in")
    torch.testing.assert_close(site.hessian, x.T @ x / 40, rtol=1e-5, atol=1e-5)
    assert torch.equal(site.hessian, site.hessian.T)
    torch.testing.assert_close(site.mean_abs, x.abs().mean(0))
    assert torch.equal(site.max_abs, x.abs().amax(0))
    assert site.tokens == 40


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["hessian", "mean_abs", "max_abs"])
def test_values_that_are_not_finite_are_refused_by_name(key: str, value: float) -> None:
    broken = tensors("mlp_out")
    broken[f"mlp_out.{key}"].view(-1)[3] = value
    with pytest.raises(UserError, match=rf"statistics/block-007.safetensors: mlp_out\.{key}"):
        check_finite(broken, "statistics/block-007.safetensors")


def test_scaled_and_rotated_statistics_are_those_of_the_moved_inputs() -> None:
    x, scale = inputs(6, 40).float(), torch.linspace(0.5, 3.0, 6)
    site = SiteStatistics.from_tensors(tensors(), "attention_in")
    site.scale(scale)
    moved = x / scale
    torch.testing.assert_close(site.hessian, moved.T @ moved / 40, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(site.mean_abs, moved.abs().mean(0))
    torch.testing.assert_close(site.max_abs, moved.abs().amax(0))
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    site.rotate(rotation)
    turned = moved.double() @ rotation
    torch.testing.assert_close(site.hessian.double(), turned.T @ turned / 40, rtol=1e-5, atol=1e-5)
    assert site.max_abs is None
