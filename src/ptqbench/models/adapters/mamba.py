"""Mamba 1 (arXiv 2312.00752): one mixer a block, and no attention."""

from __future__ import annotations

from typing import Any

from ptqbench.models.adapter import Adapter, Producer, Site

MODEL_TYPES = ("mamba",)
STRUCTURE = "state space"
GROUP = 128  # what a usual group needs; other ranks of the time step would forbid every grouped scheme
EXCLUDED = {
    "*.mixer.conv1d.weight": "a depthwise convolution",
    "*.mixer.A_log": "the logarithms of decay rates, no matrix",
    "*.mixer.dt_proj.weight": f"its inputs are no multiple of {GROUP}; 2 % of the weights",
}


def sites(config: dict[str, Any], block: int) -> tuple[Site, ...]:
    """Only ``in_proj`` and ``dt_proj`` have a producer: activation, scan and gate let no scale through."""
    steps = Site("steps", ("mixer.dt_proj",), Producer("linear", "mixer.x_proj"), fed_by="mixer.x_proj")
    return (
        Site("in", ("mixer.in_proj",), Producer("norm", "norm"), reads_stream=True),
        Site("selection", ("mixer.x_proj",)),
        *([steps] if time_step_rank(config) % GROUP == 0 else []),
        Site("out", ("mixer.out_proj",)),
    )


def time_step_rank(config: dict[str, Any]) -> int:
    """Input channels of ``dt_proj``."""
    rank = config.get("time_step_rank", "auto")
    return -(-int(config["hidden_size"]) // 16) if rank == "auto" else int(rank)


ADAPTER = Adapter(
    name="mamba",
    blocks="backbone.layers",
    embedding="backbone.embeddings",
    final_norm="backbone.norm_f",
    norms="rms",
    head="lm_head",
    sites=sites,
    writers=("mixer.out_proj",),
    excluded=EXCLUDED,
    needs=("num_hidden_layers", "hidden_size"),
)
