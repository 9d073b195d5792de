"""GLM-4 (glm) and GLM-4-0414 (glm4): Llama's attention, gate and up in one matrix; glm4 has norms behind sublayers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ptqbench.models.adapter import Site
from ptqbench.models.adapters import llama, phi3

MODEL_TYPES = ("glm",)
STRUCTURE = "dense"


def sites(config: dict[str, Any], block: int) -> tuple[Site, ...]:
    """Llama's attention and Phi-3's MLP."""
    return (*llama.sites(config, block)[:2], *phi3.sites(config, block)[2:])


ADAPTER = replace(phi3.ADAPTER, name="glm", sites=sites)
