"""LLaVA-1.5 (arXiv 2310.03744): a Llama-shaped language model that reads the projected features of a CLIP tower."""

from __future__ import annotations

from ptqbench.models.adapter import Adapter
from ptqbench.models.adapters.llama import ADAPTER as LLAMA
from ptqbench.models.tower import vision_tower

MODEL_TYPES = ("llava",)
STRUCTURE = "image and text"
TOWER = "the vision tower, unless the model's line says vision_tower: true; PTQ-Bench leaves it in float"
PROJECTOR = "a projector: under 1 % of the weights, and no text to calibrate it on"
# transformers writes no value that is LlamaConfig's default: the hub's LLaVA-1.5-7B does not say how large it is
SEVEN_B = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}


def named(language: str, head: str, before: str) -> Adapter:
    """The adapter with the language model at ``language`` and everything else behind ``before``."""
    return Adapter(
        name="llava",
        blocks=f"{language}.layers",
        embedding=f"{language}.embed_tokens",
        final_norm=f"{language}.norm",
        norms="rms",
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
        defaults=SEVEN_B,
        tower=vision_tower(f"{before}vision_tower", f"{before}multi_modal_projector", "vision_config"),
    )


# the hub's checkpoints have the names of old; transformers 5 uses others inside, and newer checkpoints may too
NEW = named("model.language_model", "lm_head", "model.")
OLD = named("language_model.model", "language_model.lm_head", "")
ADAPTER = Adapter(**{**vars(OLD), "other": NEW})
