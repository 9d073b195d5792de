"""VILA-1.5 (arXiv 2312.07533) in its own layout: a Llama in ``llm/``, SigLIP in ``vision_tower/``, and a projector."""

from __future__ import annotations

from ptqbench.models.adapter import Adapter
from ptqbench.models.adapters.llama import ADAPTER as LLAMA
from ptqbench.models.adapters.llava import PROJECTOR, TOWER
from ptqbench.models.tower import vision_tower

MODEL_TYPES = ("llava_llama",)
STRUCTURE = "image and text"

ADAPTER = Adapter(
    name="vila",
    blocks="llm.model.layers",
    embedding="llm.model.embed_tokens",
    final_norm="llm.model.norm",
    norms="rms",
    head="llm.lm_head",
    sites=LLAMA.sites,
    writers=LLAMA.writers,
    excluded={
        "vision_tower.*": TOWER,
        "mm_projector.*": PROJECTOR,
    },
    text="llm_cfg",
    module="model",
    outside_writers=("mm_projector.layers.4",),
    tower=vision_tower("vision_tower", "mm_projector", "vision_tower_cfg"),
)
