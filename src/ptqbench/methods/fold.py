"""Fold a per-channel input scale into whatever produces the input, exactly (algorithms: AWQ and SmoothQuant)."""

from __future__ import annotations

import torch
from torch import Tensor

from ptqbench.methods.state import BlockState
from ptqbench.models.adapter import Producer, Site


def foldable(state: BlockState, site: Site, values: Tensor, reduce: str = "mean") -> Tensor:
    """Make per-channel ``values [n]`` what the producer can absorb: equal over query heads of one key-value head."""
    if site.producer is None or site.producer.kind != "value":
        return values
    heads, kv_heads, width = state.heads
    shared = values.view(kv_heads, heads // kv_heads, width)
    reduced = shared.mean(1) if reduce == "mean" else shared.amax(1)
    return reduced.repeat_interleave(heads // kv_heads, 0).reshape(-1)


def fold_scale(state: BlockState, site: Site, scale: Tensor) -> None:
    """Divide the site's input by ``scale [n]`` and multiply its linears' columns: the block's function is unchanged.

    What one producer feeds is one input: all its sites and float readers get the scale (experts, routers).

    A norm absorbs the scale as its storage type rounds it, and the columns get what it really absorbed, so that the
    fold is exact in the stored checkpoint too. A site without producer keeps the scale as its ``channel_scale``.
    """
    producer = site.producer
    if producer is None:
        state.channel_scale[site.name] = state.channel_scale.get(site.name, torch.ones_like(scale)) * scale
        return
    if producer.kind == "norm":
        scale = _fold_into_norm(state, producer, scale)
    else:
        rows = (
            _rows_of_values(state, producer, scale) if producer.kind == "value" else _all_rows(state, producer, scale)
        )
        _divide_rows(state, producer.name, rows)
    for fed in (fed for fed in state.sites if fed.producer == producer):
        for linear in (*fed.linears, *fed.readers):
            state.tensors[f"{linear}.weight"] = state.weight(linear) * scale
        state.statistics[fed.name].scale(scale)


def _fold_into_norm(state: BlockState, producer: Producer, scale: Tensor) -> Tensor:
    norm, weight = producer.name, state.tensors[f"{producer.name}.weight"]
    gamma = producer.plus + weight
    stored = (gamma / scale - producer.plus).to(state.dtype).float()
    left = producer.plus + stored
    absorbed = torch.where(left == 0, torch.ones_like(scale), gamma / left)
    state.tensors[f"{norm}.weight"] = torch.where(left == 0, weight, stored)
    if f"{norm}.bias" in state.tensors:
        state.tensors[f"{norm}.bias"] = state.tensors[f"{norm}.bias"] / absorbed
    return absorbed


def _divide_rows(state: BlockState, linear: str, rows: Tensor) -> None:
    state.tensors[f"{linear}.weight"] = state.weight(linear) / rows.unsqueeze(1)
    if f"{linear}.bias" in state.tensors:
        state.tensors[f"{linear}.bias"] = state.tensors[f"{linear}.bias"] / rows
    state.row_scale[linear] = state.row_scale.get(linear, torch.ones_like(rows)) * rows


def _all_rows(state: BlockState, producer: Producer, scale: Tensor) -> Tensor:
    """The scale of a linear's rows that are the site's input, and one for the rows that others read."""
    rows = scale.new_ones(len(state.weight(producer.name)))
    rows[producer.first : producer.first + len(scale)] = scale
    return rows


def _rows_of_values(state: BlockState, producer: Producer, scale: Tensor) -> Tensor:
    """The scale of every row of the linear that makes the values: one of each key-value head, 1 for rows of keys."""
    heads, kv_heads, width = state.heads
    rows = torch.ones(len(state.weight(producer.name)), device=scale.device)
    rows[state.value_rows(producer)] = scale.view(kv_heads, heads // kv_heads, width)[:, 0].reshape(-1)
    return rows
