"""GLM-4-0414: as GLM-4, with norms behind attention and MLP as well, where no rotation gets through."""

from __future__ import annotations

from dataclasses import replace

from ptqbench.models.adapters import glm

MODEL_TYPES = ("glm4",)
STRUCTURE = "dense"
ADAPTER = replace(glm.ADAPTER, name="glm4", norms=None)
