"""Structured orthogonal transforms of the last axis: cheap to apply, small to store, deterministic for a seed.

``apply(x)`` is ``x @ M`` for the orthogonal ``M = matrix()``, ``inverse`` is ``x @ Mᵀ``, and ``apply_left(x)`` is
``Mᵀ @ x``. All compute in float64 on the CPU and in float32 on a GPU, and return the dtype that they were given.
What is stored of one is its :class:`Origin`, from which :func:`made` makes it again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from ptqbench.linalg.hadamard import core, order_of, walsh_hadamard

SEED_BITS = 64


class Origin(NamedTuple):
    """What a transform is made from: its kind (a key of ``KINDS``), its order n and, unless n alone decides, a seed."""

    kind: str
    order: int
    seed: int | None

    @property
    def bits(self) -> int:
        """What must be stored to make the transform again; the kind is the method's, the order the weight's."""
        return 0 if self.seed is None else SEED_BITS

    def state(self) -> dict[str, Tensor]:
        """Tensors to store."""
        return {self.kind: torch.tensor([self.order] if self.seed is None else [self.order, self.seed])}


@dataclass(frozen=True)
class Hadamard:
    """``M = diag(signs) (outer ⊗ H)``: ``outer [k, k]`` orthogonal, H Sylvester's of order ``n / k`` over its root."""

    outer: Tensor
    signs: Tensor
    origin: Origin

    def apply(self, x: Tensor) -> Tensor:
        """``x @ M``."""
        return self._transform(_wide(x) * self.signs, self.outer.T).to(x.dtype)

    def apply_left(self, x: Tensor) -> Tensor:
        """``Mᵀ @ x`` for ``x [n, k]``."""
        return self.apply(x.T).T.contiguous()

    def inverse(self, x: Tensor) -> Tensor:
        """``x @ Mᵀ``."""
        return (self._transform(_wide(x), self.outer) * self.signs).to(x.dtype)

    def matrix(self) -> Tensor:
        """M, float64 ``[n, n]``."""
        return self.apply(torch.eye(len(self.signs), dtype=torch.float64, device=self.signs.device))

    def to(self, device: torch.device) -> Hadamard:
        """The same transform on a device."""
        return replace(self, outer=_sent(self.outer, device), signs=_sent(self.signs, device))

    def _transform(self, x: Tensor, outer: Tensor) -> Tensor:
        k = len(outer)
        grid = x.unflatten(-1, (k, -1))
        grid = walsh_hadamard(grid) / math.sqrt(grid.shape[-1])
        return (outer.to(x.dtype) @ grid).flatten(-2)


@dataclass(frozen=True)
class Kronecker:
    """QuIP's transform: permute, apply ``left ⊗ right`` (two Haar factors), permute (arXiv 2307.13304, section 4.1)."""

    left: Tensor
    right: Tensor
    before: Tensor
    after: Tensor
    origin: Origin

    def apply(self, x: Tensor) -> Tensor:
        """``x @ M``."""
        return _columns_of(x, self.apply_left)

    def apply_left(self, x: Tensor) -> Tensor:
        """``Mᵀ @ x`` for ``x [n, k]``: whole rows move and are mixed, which memory likes best."""
        return _between(_wide(x), self.before, self.left, self.right)[self.after].to(x.dtype)

    def inverse(self, x: Tensor) -> Tensor:
        """``x @ Mᵀ``."""
        return _columns_of(x, self._inverse_left)

    def _inverse_left(self, x: Tensor) -> Tensor:
        """``M @ x`` for ``x [n, k]``."""
        turned = _between(_wide(x), torch.argsort(self.after), self.left.T, self.right.T)
        return turned[torch.argsort(self.before)].to(x.dtype)

    def matrix(self) -> Tensor:
        """M, float64 ``[n, n]``."""
        return self.apply(torch.eye(len(self.before), dtype=torch.float64, device=self.before.device))

    def to(self, device: torch.device) -> Kronecker:
        """The same transform on a device."""
        factors, orders = (self.left, self.right), (self.before, self.after)
        (left, right), (before, after) = ([_sent(part, device) for part in pair] for pair in (factors, orders))
        return Kronecker(left, right, before, after, self.origin)


Orthogonal = Hadamard | Kronecker
Rotation = Tensor | Hadamard | Kronecker


def as_matrix(rotation: Rotation) -> Tensor:
    """A rotation as its matrix."""
    return rotation if isinstance(rotation, Tensor) else rotation.matrix()


def turn(x: Tensor, rotation: Rotation) -> Tensor:
    """``x @ R``; a matrix of a smaller order than the last axis turns it block by block."""
    if isinstance(rotation, Tensor):
        return (x.unflatten(-1, (-1, len(rotation))) @ rotation).flatten(-2)
    return rotation.apply(x)


def turn_back(x: Tensor, rotation: Rotation) -> Tensor:
    """``x @ Rᵀ``."""
    return turn(x, rotation.T) if isinstance(rotation, Tensor) else rotation.inverse(x)


def from_state(state: dict[str, Tensor]) -> Orthogonal:
    """The transform of a stored :class:`Origin`."""
    ((kind, numbers),) = state.items()
    return made(kind, *numbers.tolist())


@lru_cache(maxsize=256)
def made(kind: str, *numbers: int) -> Orthogonal:
    """The transform of a kind from its order and, where it takes one, its seed."""
    return KINDS[kind](*numbers)


def random_hadamard(n: int, seed: int) -> Orthogonal:
    """A Hadamard transform after random signs; a Kronecker transform where no Hadamard matrix of order n is known."""
    k = order_of(n)
    if k is None:
        return kronecker(n, seed)
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (n,), generator=generator).double() * 2 - 1
    return Hadamard(core(k) / math.sqrt(k), signs, Origin("hadamard", n, seed))


def block_hadamard(n: int, most: int | None = None) -> Hadamard:
    """Sylvester's transform of each block of the largest power of two that divides n: what serving runtimes know.

    ``most``: of no more channels, a power of two.
    """
    width = min(n & -n, most or n)
    outer, signs = torch.eye(n // width, dtype=torch.float64), torch.ones(n, dtype=torch.float64)
    return Hadamard(outer, signs, Origin(f"blocks_{most}" if most else "block_hadamard", n, None))


def kronecker(n: int, seed: int) -> Kronecker:
    """QuIP's random transform of order n."""
    generator = torch.Generator().manual_seed(seed)
    p, q = split_factors(n)
    before, after = (torch.randperm(n, generator=generator) for _ in range(2))
    return Kronecker(haar(p, generator), haar(q, generator), before, after, Origin("kronecker", n, seed))


KINDS: dict[str, Callable[..., Orthogonal]] = {
    "kronecker": kronecker,
    "hadamard": random_hadamard,
    "block_hadamard": block_hadamard,
    **{f"blocks_{most}": partial(block_hadamard, most=most) for most in (16, 32, 64, 128)},
}


def split_factors(n: int) -> tuple[int, int]:
    """``n = p q``: its prime factors in increasing order, dealt out in turn."""
    parts, divisor, turn = [1, 1], 2, 0
    while n > 1:
        while n % divisor:
            divisor += 1
        parts[turn] *= divisor
        n, turn = n // divisor, 1 - turn
    return parts[0], parts[1]


def haar(n: int, generator: torch.Generator) -> Tensor:
    """A Haar-distributed orthogonal matrix, float64: QR of a normal matrix with the signs of R's diagonal fixed."""
    q, r = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    return (q * torch.sign(r.diagonal())).contiguous()


def _between(x: Tensor, order: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """``leftᵀ X right`` for ``X [p, q]`` of every column of ``x[order]``, ``[n, k]``."""
    p, q = len(left), len(right)
    turned = left.T.to(x.dtype) @ x.contiguous()[order].view(p, -1)
    return (right.T.to(x.dtype) @ turned.view(p, q, -1)).flatten(0, 1)


def _columns_of(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """A function of columns ``[n, k]`` on the last axis of ``x [..., n]``."""
    return function(x.reshape(-1, x.shape[-1]).T).T.contiguous().view(x.shape)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device; what the host does meanwhile need not wait for it."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.is_cuda and x.dtype != torch.float64 else x.double()
