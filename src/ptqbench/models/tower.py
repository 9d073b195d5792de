"""Vision towers in the shape of CLIP's and SigLIP's encoders, which LLaVA and VILA read images with.

Their blocks have LayerNorms and biases. A LayerNorm takes a scale in its weight and its bias, exactly; its centring
lets no rotation through, so that the tower has no R1, and its heads are left alone as well.
"""

from __future__ import annotations

from typing import Any

from ptqbench.models.adapter import Producer, Site, Tower

SEGMENT = 128  # a group size that fc2's inputs must be a multiple of
EMBEDDINGS = "the patch and position embeddings: a convolution and a table"
HEAD = "the pooling head, which language models do not read"
FC2 = "its inputs are no multiple of 128 (SigLIP so400m: 4304), which no usual group divides"


def sites(config: dict[str, Any]) -> tuple[Site, ...]:
    """Four sites; fc2 reads an activation, which no scale folds through, and is left out where no group fits."""
    before = Producer("norm", "layer_norm1")
    found = (
        Site("attention", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), before),
        Site("attention_out", ("self_attn.out_proj",), Producer("value", "self_attn.v_proj")),
        Site("mlp", ("mlp.fc1",), Producer("norm", "layer_norm2")),
    )
    fits = int(config["intermediate_size"]) % SEGMENT == 0
    return (*found, Site("mlp_out", ("mlp.fc2",))) if fits else found


def vision_tower(name: str, projector: str, config: str) -> Tower:
    """The tower at ``name``, whose config is under the key ``config``."""
    excluded = {"*embeddings.*": EMBEDDINGS, "*head.*": HEAD, "*.mlp.fc2.weight": FC2}
    return Tower(name, projector, config, sites, excluded)
