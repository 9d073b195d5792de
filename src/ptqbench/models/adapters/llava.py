"""LLaVA-1.5 (arXiv 2310.03744): a Llama-shaped language model that reads the projected features of a CLIP tower."""

from __future__ import annotations

from ptqbench.models.adapter import Adapter
from ptqbench.models.adapters.llama import ADAPTER as LLAMA

MODEL_TYPES = ("llava",)
STRUCTURE = "image and text"
TOWER = "the vision tower, which text cannot calibrate; PTQ-Bench leaves it in float too"
PROJECTOR = "a projector: under 1 % of the weights, and no text to calibrate it on"


def named(language: str, head: str, before: str) -> Adapter:
    """The adapter with the language model at ``language`` and everything else behind ``before``."""
    return Adapter(
        name="llava",
        blocks=f"{language}.layers",
        embedding=f"{language}.embed_tokens",
        final_norm=f"{language}.norm",
        head=head,
        sites=LLAMA.sites,
        writers=LLAMA.writers,
        excluded={
            f"{before}vision_tower.*": TOWER,
            f"{before}multi_modal_projector.*": PROJECTOR,
        },
        text="text_config",
        module="model",
        floats=("lm_head", "vision_tower", "multi_modal_projector"),
        outside_writers=(f"{before}multi_modal_projector.linear_2",),
    )


# the hub's checkpoints have the names of old; transformers 5 uses others inside, and newer checkpoints may too
NEW = named("model.language_model", "lm_head", "model.")
OLD = named("language_model.model", "language_model.lm_head", "")
ADAPTER = Adapter(**{**vars(OLD), "other": NEW})
