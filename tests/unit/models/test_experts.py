"""Experts by the hub's names: where they are at run time, and what their statistics see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import MIXTURES, STATISTICS, make_model, tokens
from torch import Tensor, nn
from torch.nn import functional as F

from ptqbench.errors import UserError
from ptqbench.models.adapter import reason_for_float, stages
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.collect import watching
from ptqbench.models.experts import fuse, slice_of, weight_view
from ptqbench.models.skeleton import Skeleton
from ptqbench.models.stream import advance, run_block
from ptqbench.statistics.hessian import unfold

CPU = torch.device("cpu")


def names_of(site_linears: str) -> tuple[str, str]:
    """The names of an expert's gate and up beside its down."""
    stem, leaf = site_linears.rsplit(".", 1)
    return (f"{stem}.w1", f"{stem}.w3") if leaf == "w2" else (f"{stem}.gate_proj", f"{stem}.up_proj")


def test_shared_experts_are_modules_of_their_own() -> None:
    assert slice_of("mlp.shared_experts.gate_proj") is None
    assert slice_of("mlp.gate") is None
    assert slice_of("block_sparse_moe.experts.3.w3") == ("mlp.experts", "gate_up_proj", 3, 1)
    assert slice_of("model.layers.1.mlp.experts.12.down_proj") == ("model.layers.1.mlp.experts", "down_proj", 12, None)


@pytest.mark.parametrize("family", MIXTURES)
def test_views_are_the_checkpoints_matrices_and_writing_changes_the_block(tmp_path: Path, family: str) -> None:
    checkpoint = Checkpoint(make_model(tmp_path, family))
    block = Skeleton(checkpoint, CPU, torch.float32).block(1, checkpoint.block(1))
    for site in checkpoint.adapter.sites(checkpoint.config, 1):
        for linear in (*site.linears, *site.readers):
            assert torch.equal(weight_view(block, linear), checkpoint.block(1)[f"{linear}.weight"])
            weight_view(block, linear).fill_(7.0)
    changed = {name for name, parameter in block.named_parameters() if bool((parameter == 7.0).all())}
    assert changed == {name for name, parameter in block.named_parameters() if parameter.dim() > 1}


def test_fusing_is_differentiable() -> None:
    parts = {f"mlp.experts.{e}.{p}_proj.weight": torch.randn(4, 3) for e in (1, 0) for p in ("up", "gate")}
    parts = {name: tensor.requires_grad_() for name, tensor in parts.items()}
    fused = fuse(parts)
    assert fused["mlp.experts.gate_up_proj"].shape == (2, 8, 3)
    fused["mlp.experts.gate_up_proj"][1, 4:].sum().backward()
    assert torch.equal(parts["mlp.experts.1.up_proj.weight"].grad, torch.ones(4, 3))
    assert not parts["mlp.experts.0.up_proj.weight"].grad.any()


@pytest.mark.parametrize("family", MIXTURES)
def test_every_expert_accumulates_the_tokens_routed_to_it(tmp_path: Path, family: str) -> None:
    checkpoint = Checkpoint(make_model(tmp_path, family))
    skeleton = Skeleton(checkpoint, CPU, torch.float32)
    items = skeleton.inputs(tokens(), 4)
    first = skeleton.block(0, checkpoint.block(0))
    advance(first, items)
    block = skeleton.block(1, checkpoint.block(1))
    routed: list[tuple[Tensor, Tensor]] = []
    router: Any = block.get_submodule("mlp.gate")
    handle = router.register_forward_hook(lambda _, args, out: routed.append((args[0].flatten(0, -2), out[2])))
    sites = checkpoint.adapter.sites(checkpoint.config, 1)
    with watching(block, sites, STATISTICS) as accumulators:
        list(run_block(block, items))
    handle.remove()
    x, index = (torch.cat(parts) for parts in zip(*routed, strict=True))
    found = {key: value for name, site in accumulators.items() for key, value in site.finish(name).items()}
    for kind in ("mlp", "mlp_out"):
        counts = [found[f"{site.name}.tokens"].item() for site in sites if site.routed and site.stage == kind]
        assert sum(counts) == tokens().numel() * index.shape[1]
    assert found["mlp.tokens"].item() == tokens().numel()
    torch.testing.assert_close(unfold(found["mlp.hessian"], 64), x.T @ x / len(x), rtol=1e-4, atol=1e-5)
    for site in (site for site in sites if site.routed):
        rows = x[(index == int(site.name.split(".")[1])).any(1)]
        assert found[f"{site.name}.tokens"].item() == len(rows)
        if site.stage == "mlp_out":
            gate, up = (weight_view(block, linear) for linear in names_of(site.linears[0]))
            rows = F.silu(rows @ gate.T) * (rows @ up.T)
        expected = rows.T @ rows / max(len(rows), 1)
        torch.testing.assert_close(unfold(found[f"{site.name}.hessian"], rows.shape[1]), expected, rtol=1e-4, atol=1e-5)
    experts: Any = block.get_submodule("mlp.experts")
    assert not hasattr(experts, "observer")


@pytest.mark.parametrize("family", MIXTURES)
def test_every_matrix_is_quantized_or_excluded_with_a_reason(tmp_path: Path, family: str) -> None:
    checkpoint = Checkpoint(make_model(tmp_path, family))
    adapter = checkpoint.adapter
    linears = [
        f"{adapter.prefix(block)}{linear}.weight"
        for block in range(checkpoint.n_blocks)
        for site in adapter.sites(checkpoint.config, block)
        for linear in site.linears
    ]
    assert len(linears) == len(set(linears))
    matrices = {name for name, header in checkpoint.headers.items() if len(header.shape) > 1}
    assert set(linears) <= matrices
    left = matrices - set(linears)
    assert all(reason_for_float(adapter, name) for name in left), left
    assert not any(reason_for_float(adapter, name) for name in linears)
    readers = {
        f"{adapter.prefix(block)}{reader}.weight"
        for block in range(checkpoint.n_blocks)
        for site in adapter.sites(checkpoint.config, block)
        for reader in site.readers
    }
    assert left == readers | {"model.embed_tokens.weight", "lm_head.weight"}


def test_routing_that_transformers_does_not_compute_is_refused_by_name(tmp_path: Path) -> None:
    checkpoint = Checkpoint(make_model(tmp_path, "deepseek_v2", norm_topk_prob=True))
    with pytest.raises(UserError, match="norm_topk_prob is true"):
        checkpoint.adapter.sites(checkpoint.config, 0)


@pytest.mark.parametrize("family", MIXTURES)
def test_stages_come_in_the_order_of_computation(tmp_path: Path, family: str) -> None:
    checkpoint = Checkpoint(make_model(tmp_path, family))
    block = Skeleton(checkpoint, CPU, torch.float32).block(1, checkpoint.block(1))
    assert isinstance(block, nn.Module)
    groups = stages(checkpoint.adapter.sites(checkpoint.config, 1))
    names = [group[0].stage for group in groups]
    assert len(names) == len(set(names))
    assert names[0] == "attention"
    assert names[-2:] == ["mlp", "mlp_out"]
