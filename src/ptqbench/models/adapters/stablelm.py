"""StableLM: Llama's block with LayerNorms, which let no rotation through."""

from __future__ import annotations

from dataclasses import replace

from ptqbench.models.adapters import llama

MODEL_TYPES = ("stablelm",)
STRUCTURE = "dense"
ADAPTER = replace(llama.ADAPTER, name="stablelm", norms=None)
