"""QuaRot's R4 (arXiv 2404.00456, section 4): a Hadamard transform of ``down_proj``'s input, computed at run time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ptqbench.linalg.orthogonal import block_hadamard
from ptqbench.methods.basis import SiteBasis
from ptqbench.methods.contracts import Facts, SiteTransform
from ptqbench.methods.state import BlockState
from ptqbench.models.adapter import Site


@dataclass(frozen=True)
class RotationOnline(SiteTransform):
    """It has no parameters."""

    STRATEGY: ClassVar = "rotation"
    ONLINE: ClassVar = True
    NEEDS: ClassVar[Facts] = {"model_basis": {}, "model_weight": {}}
    BREAKS: ClassVar[Facts] = {"model_basis": {}}

    def basis(self, state: BlockState, site: Site, before: SiteBasis) -> SiteBasis:
        """Sites that a linear feeds (through an activation) and that write to the residual stream."""
        producer = site.producer
        if producer is None or producer.kind != "linear" or not set(site.linears) & set(state.writers):
            return before
        return replace(before, right=block_hadamard(state.weight(site.linears[0]).shape[1]).to(state.device))
