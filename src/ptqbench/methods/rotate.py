"""Rotate the residual stream (R1) and the value heads (R2) of a model without changing its function.

QuaRot (arXiv 2404.00456) and SpinQuant (arXiv 2405.16406), section 3 of each. The references also centre the embedding
rows, which changes the function of a model with RMSNorm: not done here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ptqbench.errors import UserError
from ptqbench.linalg.orthogonal import Rotation, turn
from ptqbench.linalg.rotations import Rotations
from ptqbench.methods.state import BlockState
from ptqbench.models.adapter import Adapter, Site, by_producer

LAYER_NORM = "a block of the vision tower: its LayerNorms centre, which lets no rotation through"


def rotate(state: BlockState, rotations: Rotations) -> list[dict[str, Any]]:
    """Rotate one block of the language model; the first of them has the record of how the rotations were found."""
    if state.index not in rotations.blocks:
        return [{"left_out": LAYER_NORM}]
    own = rotations.r2[state.index]
    rotate_block(state, rotations.r1.to(state.device), None if own is None else own.to(state.device))
    return [dict(rotations.record)] if rotations.record and state.index == rotations.blocks[0] else []


def rotate_block(state: BlockState, r1: Rotation, r2: Tensor | None) -> None:
    """Readers become ``W diag(γ) R1`` with γ = 1, writers ``R1ᵀ W``; v rows and o columns rotate by R2 per head.

    ``r1`` of order d, ``r2`` float64 ``[head_dim, head_dim]`` or None. Statistics follow. All in float64.
    """
    for group in by_producer(site for site in state.sites if site.reads_stream):
        _rotate_readers(state, group, r1)
    for writer in state.writers:
        _rotate_rows(state, writer, r1)
    if r2 is not None:
        _rotate_values(state, r2)


def rotate_outside(tensors: dict[str, Tensor], adapter: Adapter, r1: Rotation) -> dict[str, Any]:
    """Rotate embedding, head and what else writes to the stream in place, folding the final norm into the head.

    Names are the checkpoint's. A tied head becomes a tensor of its own; returns the changes that ``config.json`` needs.
    """
    embedding, head, norm = f"{adapter.embedding}.weight", f"{adapter.head}.weight", f"{adapter.final_norm}.weight"
    gamma = adapter.final_plus + tensors[norm].double()
    source = tensors[head if head in tensors else embedding].double()
    tensors[head] = turn(source * gamma, r1).float()
    tensors[embedding] = turn(tensors[embedding].double(), r1).float()
    tensors[norm] = torch.full_like(tensors[norm], 1 - adapter.final_plus)
    for writer in adapter.outside_writers:
        tensors[f"{writer}.weight"] = turned_rows(tensors[f"{writer}.weight"], r1)
        if f"{writer}.bias" in tensors:
            tensors[f"{writer}.bias"] = turn(tensors[f"{writer}.bias"].double(), r1).float()
    return adapter.untied()


def _rotate_readers(state: BlockState, sites: tuple[Site, ...], r1: Rotation) -> None:
    """All that one norm feeds, routers too."""
    producer = sites[0].producer
    assert producer is not None
    norm = f"{producer.name}.weight"
    if f"{producer.name}.bias" in state.tensors:
        raise UserError(
            f"a rotation needs RMSNorms, and block {state.index} has a LayerNorm, {norm}: choose another method"
        )
    gamma = producer.plus + state.tensors[norm].double()
    for site in sites:
        for linear in (*site.linears, *site.readers):
            state.tensors[f"{linear}.weight"] = turn(state.weight(linear).double() * gamma, r1).float()
        statistics = state.statistics[site.name]
        statistics.scale(torch.where(gamma == 0, 1.0, gamma).float())
        statistics.rotate(r1)
    state.tensors[norm] = torch.full_like(state.tensors[norm], 1 - producer.plus)


def turned_rows(weight: Tensor, rotation: Rotation) -> Tensor:
    """``Rᵀ W`` in float32."""
    return turn(weight.double().T, rotation).T.float().contiguous()


def _rotate_rows(state: BlockState, linear: str, r1: Rotation) -> None:
    state.tensors[f"{linear}.weight"] = turned_rows(state.weight(linear), r1)
    if f"{linear}.bias" in state.tensors:
        state.tensors[f"{linear}.bias"] = turn(state.tensors[f"{linear}.bias"].double(), r1).float()


def _rotate_values(state: BlockState, r2: Tensor) -> None:
    """The site whose producer is the values reads heads side by side: rotate each by the same matrix."""
    _, kv_heads, width = state.heads
    for site in state.sites:
        if site.producer is None or site.producer.kind != "value":
            continue
        values, index = site.producer.name, state.value_rows(site.producer)
        weight = state.weight(values)
        rows = weight[index].double().view(kv_heads, width, -1)
        turned = (r2.T @ rows).reshape(kv_heads * width, -1).float()
        state.tensors[f"{values}.weight"] = weight.index_copy(0, index, turned)
        if f"{values}.bias" in state.tensors:
            bias = state.tensors[f"{values}.bias"]
            turned = (bias[index].double().view(kv_heads, width) @ r2).reshape(-1).float()
            state.tensors[f"{values}.bias"] = bias.index_copy(0, index, turned)
        for linear in site.linears:
            state.tensors[f"{linear}.weight"] = turn(state.weight(linear).double(), r2).float()
        state.statistics[site.name].rotate(r2)
