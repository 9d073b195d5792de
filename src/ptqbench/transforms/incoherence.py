"""QuIP's incoherence processing (arXiv 2307.13304, section 4): each linear in a random orthogonal basis on both sides.

Weights are first rescaled per input channel by ``(H_jj / ‖W_:j‖²)^¼``. ``kind: kronecker`` is QuIP's product of two
small Haar factors, ``kind: hadamard`` QuIP#'s randomized Hadamard (arXiv 2402.04396).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from zlib import crc32

from ptqbench.models.adapter import Site
from ptqbench.quantize.basis import SiteBasis
from ptqbench.quantize.orthogonal import Orthogonal, kronecker, random_hadamard
from ptqbench.quantize.state import BlockState

STRATEGY = "rotation"
DEFAULTS = {"kind": "kronecker", "rescale": True, "seed": 0}
FLOOR = 1e-8
KINDS = {"kronecker": kronecker, "hadamard": random_hadamard}
AHEAD = ThreadPoolExecutor(1)  # makes the next block's transforms while a GPU is kept busy with this one's


def basis(state: BlockState, site: Site, before: SiteBasis, kind: str, rescale: bool, seed: int) -> SiteBasis:
    """The site's rescaled and rotated basis; the input side is shared by its linears."""
    scale = before.scale
    if rescale:
        weight, hessian = state.stacked(site), state.statistics[site.name].hessian
        energy = hessian.diagonal() / hessian.abs().max().clamp(min=FLOOR)
        found = (energy.clamp(min=FLOOR) / weight.square().sum(0).clamp(min=FLOOR)).pow(0.25).clamp(min=FLOOR)
        scale = found if scale is None else found * scale

    def made(name: str, order: int) -> Orthogonal:
        found = transform(kind, order, seed, state.index, name)
        AHEAD.submit(transform, kind, order, seed, state.index + 1, name)
        return found.to(state.device)

    left = {linear: made(linear, len(state.weight(linear))) for linear in site.linears}
    return replace(before, scale=scale, right=made(site.name, state.weight(site.linears[0]).shape[1]), left=left)


@lru_cache(maxsize=256)
def transform(kind: str, order: int, seed: int, block: int, name: str) -> Orthogonal:
    """The transform of a site's inputs or a linear's outputs, by the name of either."""
    return KINDS[kind](order, crc32(f"{seed}.{block}.{name}".encode()))
