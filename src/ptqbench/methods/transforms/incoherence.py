"""QuIP's incoherence processing (arXiv 2307.13304, section 4): each linear in a random orthogonal basis on both sides.

Weights are first rescaled per input channel by ``(H_jj / ‖W_:j‖²)^¼``. ``kind: kronecker`` is QuIP's product of two
small Haar factors, ``kind: hadamard`` QuIP#'s randomized Hadamard (arXiv 2402.04396).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from zlib import crc32

from ptqbench.linalg.orthogonal import Orthogonal, made
from ptqbench.methods.basis import SiteBasis
from ptqbench.methods.state import BlockState
from ptqbench.models.adapter import Site

STRATEGY = "rotation"
NEEDS: dict = {"model_basis": {}, "model_weight": {}}
BREAKS: dict = {"model_basis": {}, "max_abs": {}, "plain_linears": {}}
DEFAULTS = {"kind": "kronecker", "rescale": True, "seed": 0}
PARAMETERS = {
    "kind": {"enum": ["kronecker", "hadamard"]},
    "rescale": {"type": "boolean"},
    "seed": {"type": "integer", "minimum": 0, "maximum": 4294967295},
}
FLOOR, TINY = 1e-8, 1e-30
AHEAD = ThreadPoolExecutor(1)  # makes the next block's transforms while a GPU is kept busy with this one's


def basis(state: BlockState, site: Site, before: SiteBasis, kind: str, rescale: bool, seed: int) -> SiteBasis:
    """The site's rescaled and rotated basis; the input side is shared by its linears."""
    scale = before.scale
    if rescale:
        weight, hessian = state.stacked(site), state.statistics[site.name].hessian
        energy = hessian.diagonal() / hessian.abs().max().clamp(min=TINY)
        found = (energy.clamp(min=FLOOR) / weight.square().sum(0).clamp(min=FLOOR)).pow(0.25).clamp(min=FLOOR)
        scale = found if scale is None else found * scale

    def drawn(name: str, order: int) -> Orthogonal:
        """The transform of a site's inputs or a linear's outputs, by the name of either."""
        own, following = (crc32(f"{seed}.{block}.{name}".encode()) for block in (state.index, state.index + 1))
        found = made(kind, order, own)
        AHEAD.submit(made, kind, order, following)
        return found.to(state.device)

    left = {linear: drawn(linear, len(state.weight(linear))) for linear in site.linears}
    return replace(before, scale=scale, right=drawn(site.name, state.weight(site.linears[0]).shape[1]), left=left)
