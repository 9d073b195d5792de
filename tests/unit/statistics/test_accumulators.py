"""Every accumulator against its definition on all inputs at once, however they were split into batches."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest
import torch
from scipy import stats
from torch import Tensor

from ptqbench.spec import statistics
from ptqbench.statistics import hessian, magnitude, moments

MODULES = [importlib.import_module(f"ptqbench.statistics.{name}") for name in statistics()]


def inputs(tokens: int = 200, n: int = 12) -> Tensor:
    """Correlated inputs with a mean and an outlier channel, float32 ``[tokens, n]``."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(tokens, n, generator=generator) @ torch.randn(n, n, generator=generator) + 0.5
    x[:, 3] *= 40
    return x


def accumulate(module: ModuleType, x: Tensor, sizes: list[int]) -> dict[str, Tensor]:
    state = module.start(x.shape[1], x.device)
    for part in x.split(sizes):
        module.update(state, part)
    return module.finish(state, len(x))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rsplit(".", 1)[1])
@pytest.mark.parametrize("sizes", [[1] * 200, [7, 193], [100, 0, 100]])
def test_batches_do_not_matter(module: ModuleType, sizes: list[int]) -> None:
    x = inputs()
    whole, split = accumulate(module, x, [len(x)]), accumulate(module, x, sizes)
    assert whole.keys() == split.keys()
    for key, value in whole.items():
        torch.testing.assert_close(split[key], value, rtol=1e-5, atol=1e-5 * value.abs().max().item())


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rsplit(".", 1)[1])
def test_no_tokens_are_zeros(module: ModuleType) -> None:
    for value in accumulate(module, inputs()[:0], [0]).values():
        assert value.abs().max() == 0


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rsplit(".", 1)[1])
def test_half_precision_inputs_do_not_overflow(module: ModuleType) -> None:
    x = torch.full((300, 4), 1000.0, dtype=torch.float16)  # 1000² is beyond float16
    x[::2] *= -1
    found = accumulate(module, x, [300])
    assert all(bool(torch.isfinite(value).all()) and value.dtype == torch.float32 for value in found.values())


def test_hessian_is_the_mean_outer_product() -> None:
    x = inputs()
    triangle = accumulate(hessian, x, [50] * 4)["hessian"]
    assert triangle.numel() == 12 * 13 // 2
    full = hessian.unfold(triangle, 12)
    torch.testing.assert_close(full.double(), x.double().T @ x.double() / 200, rtol=1e-5, atol=1e-2)
    assert torch.equal(full, full.T)
    assert torch.linalg.eigvalsh(full.double()).min() > -1e-3


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7, 12])
def test_a_triangle_is_folded_and_unfolded(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hessian, "BLOCK", 5)
    matrix = torch.randn(n, n, generator=torch.Generator().manual_seed(0)).double()
    matrix = matrix + matrix.T
    folded = hessian.fold(matrix.triu())
    assert sorted(folded.flatten().tolist()) == sorted(matrix[torch.ones(n, n).triu() == 1].tolist())
    assert torch.equal(hessian.unfold(folded, n), matrix)


def test_blocks_of_a_wide_site_make_the_same_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    x = inputs()
    whole = accumulate(hessian, x, [50] * 4)["hessian"]
    monkeypatch.setattr(hessian, "BLOCK", 5)
    torch.testing.assert_close(accumulate(hessian, x, [50] * 4)["hessian"], whole)


def test_magnitude() -> None:
    x = torch.tensor([[1.0, -2.0], [-3.0, 0.0]])
    found = accumulate(magnitude, x, [1, 1])
    assert found["mean_abs"].tolist() == [2.0, 1.0]
    assert found["max_abs"].tolist() == [3.0, 2.0]


def test_kurtosis_of_known_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    n = 200_000
    channels = {
        3.0: torch.randn(n, generator=generator),
        1.8: torch.rand(n, generator=generator),
        1.0: torch.randint(0, 2, (n,), generator=generator) * 2.0 - 1,
        6.0: torch.log(torch.rand(n, generator=generator) / torch.rand(n, generator=generator)),  # Laplace
    }
    found = accumulate(moments, torch.stack(list(channels.values()), 1), [n])["kurtosis"]
    for value, expected in zip(found.tolist(), channels, strict=True):
        assert value == pytest.approx(expected, rel=0.05)


def test_kurtosis_and_mean_are_those_of_scipy() -> None:
    x = inputs()
    found = accumulate(moments, x, [50] * 4)
    expected = torch.from_numpy(stats.kurtosis(x.double().numpy(), fisher=False))
    torch.testing.assert_close(found["kurtosis"].double(), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found["mean"].double(), x.double().mean(0), rtol=1e-4, atol=1e-4)


def test_a_large_mean_does_not_drown_the_kurtosis() -> None:
    x = torch.rand(10_000, 1, generator=torch.Generator().manual_seed(0))
    for mean in (0.0, 10.0, 100.0):
        found = accumulate(moments, x + mean, [5000, 5000])["kurtosis"].item()
        assert found == pytest.approx(stats.kurtosis((x + mean).double().flatten(), fisher=False), rel=1e-3)


def test_a_constant_channel_has_no_kurtosis() -> None:
    x = torch.tensor([[3.0, 0.0, 1.0], [3.0, 0.0, 2.0]])
    found = accumulate(moments, x, [2])
    assert found["kurtosis"].tolist() == [0.0, 0.0, pytest.approx(1.0)]
    assert found["mean"].tolist() == [3.0, 0.0, 1.5]
