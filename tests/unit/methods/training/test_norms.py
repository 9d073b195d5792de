"""RMSNorm in one kernel against transformers' own, in every family that has it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mamba2.modeling_mamba2 import MambaRMSNormGated

from ptqbench.methods.training.norms import fast_norms, is_plain


def norm(n: int, dtype: torch.dtype) -> LlamaRMSNorm:
    torch.manual_seed(0)
    made = LlamaRMSNorm(n, eps=1e-3)
    made.weight.data = torch.rand(n) + 0.5
    return made.to(dtype)


def sides(dtype: torch.dtype) -> list[list[torch.Tensor]]:
    """Output and gradients, plain and fast."""
    found = []
    x, wanted = (torch.randn(3, 5, 48, generator=torch.Generator().manual_seed(k)).to(dtype) for k in (1, 2))
    for fast in (False, True):
        module, leaf = norm(48, dtype), x.clone().requires_grad_()
        if fast:
            with fast_norms(module):
                out = module(leaf)
        else:
            out = module(leaf)
        (out * wanted).sum().backward()
        found.append([out.detach(), leaf.grad, module.weight.grad])
    return found


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_computes_what_transformers_computes_and_its_gradients_are_the_same(dtype: torch.dtype, error: float) -> None:
    plain, fast = sides(dtype)
    for found, expected in zip(fast, plain, strict=True):
        assert found.dtype == expected.dtype
        assert (found - expected).norm() <= error * expected.norm()


def test_half_precision_is_rounded_once() -> None:
    module, x = norm(48, torch.bfloat16), torch.randn(7, 48, generator=torch.Generator().manual_seed(3)).bfloat16()
    with fast_norms(module):
        found = module(x)
    wide = x.double()
    exact = module.weight.double() * wide / (wide.square().mean(-1, keepdim=True) + 1e-3).sqrt()
    assert (found.double() - exact).abs().max() <= 2.0**-8 * exact.abs().max()


def test_other_norms_are_left_alone() -> None:
    assert not any(map(is_plain, (GemmaRMSNorm(8), MambaRMSNormGated(8), nn.LayerNorm(8))))
    block = nn.ModuleList([GemmaRMSNorm(8), norm(8, torch.float32)])
    with fast_norms(block):
        assert ["forward" in vars(module) for module in block] == [False, True]
        with fast_norms(block):
            pass
        assert "forward" in vars(block[1]), "an inner context leaves the outer one be"
    assert "forward" not in vars(block[1])


def test_every_rms_norm_of_transformers_that_looks_plain_is() -> None:
    """The families that are quantized here; one with another formula under such a name would train on a wrong model."""
    import importlib

    x = torch.randn(2, 16, generator=torch.Generator().manual_seed(4))
    for family in ("llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v2", "mamba"):
        source = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
        classes = {
            value for name, value in vars(source).items() if name.endswith("RMSNorm") and isinstance(value, type)
        }
        assert classes, family
        for made in (each(16) for each in classes):
            assert is_plain(made)
            made.weight.data = torch.rand(16)
            with fast_norms(made):
                found = made(x)
            torch.testing.assert_close(found, made(x), rtol=1e-5, atol=1e-6)
