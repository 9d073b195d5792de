"""Mamba 2 (arXiv 2405.21060): one input projection for everything, and a gated norm before the output projection."""

from __future__ import annotations

from typing import Any

from ptqbench.models.adapter import Adapter, Producer, Site

MODEL_TYPES = ("mamba2",)
STRUCTURE = "state space"


def sites(config: dict[str, Any], block: int) -> tuple[Site, ...]:
    """Both linears have a norm before them."""
    return (
        Site("in", ("mixer.in_proj",), Producer("norm", "norm"), reads_stream=True),
        Site("out", ("mixer.out_proj",), Producer("norm", "mixer.norm")),
    )


ADAPTER = Adapter(
    name="mamba2",
    blocks="backbone.layers",
    embedding="backbone.embeddings",
    final_norm="backbone.norm_f",
    norms="rms",
    head="lm_head",
    sites=sites,
    writers=("mixer.out_proj",),
    excluded={"*.mixer.conv1d.weight": "a depthwise convolution"},
    needs=("num_hidden_layers", "hidden_size"),
)
