"""MR-GPTQ's rotation (arXiv 2509.23202): a Hadamard transform of each block of every linear's inputs, at run time.

A block as wide as a scale's group spreads an outlier over its own group and over no other. Signs are not random, as
runtimes know no other block transform.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from ptqbench.linalg.orthogonal import made
from ptqbench.methods.basis import SiteBasis
from ptqbench.methods.contracts import Facts, SiteTransform, parameter
from ptqbench.methods.state import BlockState
from ptqbench.models.adapter import Site


@dataclass(frozen=True)
class RotationBlocks(SiteTransform):
    """``block`` input channels are mixed; fewer, where no power of two that large divides a linear's inputs."""

    STRATEGY: ClassVar = "rotation"
    ONLINE: ClassVar = True
    NEEDS: ClassVar[Facts] = {"model_basis": {}, "model_weight": {}}
    BREAKS: ClassVar[Facts] = {"model_basis": {}, "max_abs": {}}

    block: Literal[16, 32, 64, 128] = parameter(32)

    def basis(self, state: BlockState, site: Site, before: SiteBasis) -> SiteBasis:
        """The inputs of every site, which its linears share."""
        right = made(f"blocks_{self.block}", state.weight(site.linears[0]).shape[1])
        return replace(before, right=right.to(state.device))
