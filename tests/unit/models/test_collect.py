"""Hooks feed every site's accumulators with what its linears read, and go away."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import FAMILIES, STATISTICS, make_model, tokens
from torch import nn

from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.collect import watching
from ptqbench.models.skeleton import Skeleton
from ptqbench.models.stream import run_block
from ptqbench.statistics.hessian import unfold


@pytest.mark.parametrize("family", FAMILIES)
def test_every_linear_of_a_site_reads_what_was_accumulated(tmp_path: Path, family: str) -> None:
    checkpoint = Checkpoint(make_model(tmp_path, family))
    skeleton = Skeleton(checkpoint, torch.device("cpu"), torch.float32)
    block = skeleton.block(0, checkpoint.block(0))
    sites = checkpoint.adapter.sites(checkpoint.config, 0)
    read: dict[str, list[torch.Tensor]] = {}
    for name, module in block.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(
                lambda _, args, name=name: read.setdefault(name, []).append(args[0].flatten(0, -2).double())
            )
    items = skeleton.inputs(tokens(), 4)
    with watching(block, sites, STATISTICS) as accumulators:
        list(run_block(block, items))
    assert {linear for site in sites for linear in site.linears} == set(read), "every linear of a block is in a site"
    for site in sites:
        found = accumulators[site.name].finish(site.name)
        for linear in site.linears:
            x = torch.cat(read[linear])
            hessian = unfold(found[f"{site.name}.hessian"], x.shape[1]).double()
            torch.testing.assert_close(hessian, x.T @ x / len(x), rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(found[f"{site.name}.max_abs"].double(), x.abs().amax(0))
        assert found[f"{site.name}.tokens"].item() == tokens().numel()


def test_sites_come_in_the_order_of_computation(tmp_path: Path) -> None:
    checkpoint = Checkpoint(make_model(tmp_path))
    skeleton = Skeleton(checkpoint, torch.device("cpu"), torch.float32)
    block, seen = skeleton.block(0, checkpoint.block(0)), []
    for name, module in block.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda _, args, out, name=name: seen.append(name))
    list(run_block(block, skeleton.inputs(tokens(), 6)))
    sites = checkpoint.adapter.sites(checkpoint.config, 0)
    firsts = [min(seen.index(linear) for linear in site.linears) for site in sites]
    assert firsts == sorted(firsts)


def test_hooks_are_removed_even_after_an_error(tmp_path: Path) -> None:
    checkpoint = Checkpoint(make_model(tmp_path))
    skeleton = Skeleton(checkpoint, torch.device("cpu"), torch.float32)
    block = skeleton.block(0, checkpoint.block(0))
    with pytest.raises(KeyboardInterrupt), watching(block, checkpoint.adapter.sites({}, 0), STATISTICS):
        raise KeyboardInterrupt
    assert not any(module._forward_pre_hooks for module in block.modules())
