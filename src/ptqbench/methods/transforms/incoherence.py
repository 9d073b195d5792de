"""QuIP's incoherence processing (arXiv 2307.13304, section 4): each linear in a random orthogonal basis on both sides.

Weights are first rescaled per input channel by ``(H_jj / ‖W_:j‖²)^¼``. ``kind: kronecker`` is QuIP's product of two
small Haar factors, ``kind: hadamard`` QuIP#'s randomized Hadamard (arXiv 2402.04396).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import ClassVar, Literal
from zlib import crc32

from ptqbench.linalg.orthogonal import Orthogonal, made
from ptqbench.methods.basis import SiteBasis
from ptqbench.methods.contracts import Facts, SiteTransform, parameter
from ptqbench.methods.state import BlockState
from ptqbench.models.adapter import Site

FLOOR, TINY = 1e-8, 1e-30
AHEAD = ThreadPoolExecutor(1)  # makes the next block's transforms while a GPU is kept busy with this one's


@dataclass(frozen=True)
class Incoherence(SiteTransform):
    """``kind`` of the two transforms, and whether to ``rescale`` before them."""

    STRATEGY: ClassVar = "rotation"
    NEEDS: ClassVar[Facts] = {"model_basis": {}, "model_weight": {}}
    BREAKS: ClassVar[Facts] = {"model_basis": {}, "max_abs": {}, "plain_linears": {}}

    kind: Literal["kronecker", "hadamard"] = parameter("kronecker")
    rescale: bool = parameter(True)
    seed: int = parameter(0, minimum=0, maximum=4294967295)

    def basis(self, state: BlockState, site: Site, before: SiteBasis) -> SiteBasis:
        """The site's rescaled and rotated basis; the input side is shared by its linears."""
        scale = before.scale
        if self.rescale:
            weight, hessian = state.stacked(site), state.statistics[site.name].hessian
            energy = hessian.diagonal() / hessian.abs().max().clamp(min=TINY)
            found = (energy.clamp(min=FLOOR) / weight.square().sum(0).clamp(min=FLOOR)).pow(0.25).clamp(min=FLOOR)
            scale = found if scale is None else found * scale

        def drawn(name: str, order: int) -> Orthogonal:
            """The transform of a site's inputs or a linear's outputs, by the name of either."""
            own, following = (crc32(f"{self.seed}.{block}.{name}".encode()) for block in (state.index, state.index + 1))
            found = made(self.kind, order, own)
            AHEAD.submit(made, self.kind, order, following)
            return found.to(state.device)

        left = {linear: drawn(linear, len(state.weight(linear))) for linear in site.linears}
        return replace(before, scale=scale, right=drawn(site.name, state.weight(site.linears[0]).shape[1]), left=left)
