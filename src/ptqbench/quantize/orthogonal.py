from __future__ import annotations

import torch


class Orthogonal:
    def __init__(self, m):
        self.m = m

    def apply(self, x):
        return (x.double() @ self.m.to(x.device)).to(x.dtype)

    def inverse(self, x):
        return (x.double() @ self.m.T.to(x.device)).to(x.dtype)

    def matrix(self):
        return self.m

    def state(self):
        return {"m": self.m}

    def to(self, d):
        return self


def from_state(s):
    return Orthogonal(s["m"])


def hadamard(n):
    k = n & -n
    h = torch.ones(1, 1, dtype=torch.float64)
    while len(h) < k:
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)])
    return Orthogonal(torch.block_diag(*[h / k**0.5] * (n // k)))


def random_hadamard(n, seed):
    g = torch.Generator().manual_seed(seed)
    s = (torch.randint(0, 2, (n,), generator=g) * 2 - 1).double()
    return Orthogonal(s[:, None] * hadamard(n).m)


def kronecker(n, seed):
    g = torch.Generator().manual_seed(seed)
    return Orthogonal(torch.linalg.qr(torch.randn(n, n, generator=g, dtype=torch.float64))[0])
