"""Experts at run time: transformers fuses them into 3-D parameters, checkpoints hold one matrix for each.

``<module>.experts.<e>.w1`` (or ``gate_proj``) is the first half of ``gate_up_proj[e]``, ``w3`` (``up_proj``) the second
half, ``w2`` (``down_proj``) is ``down_proj[e]``; Mixtral's ``block_sparse_moe`` is the module ``mlp``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

NAME = "ptqbench_watched"
HALF = {"w1": 0, "gate_proj": 0, "w3": 1, "up_proj": 1}
PATTERN = re.compile(rf"(?P<experts>(?:.*\.)?experts)\.(?P<expert>\d+)\.(?P<leaf>{'|'.join(HALF)}|w2|down_proj)")
RENAMED = ("block_sparse_moe.", "mlp.")

Observer = Callable[[str, int, Tensor], None]  # ("in" or "hidden", expert, rows [tokens, n])


class Slice(NamedTuple):
    """Where an expert's linear is: the runtime module, the parameter, the expert, the half (None: all of it)."""

    module: str
    parameter: str
    expert: int
    half: int | None


def slice_of(linear: str) -> Slice | None:
    """The place of a checkpoint's linear in a fused parameter; None for linears that are modules of their own."""
    found = PATTERN.fullmatch(linear)
    if found is None:
        return None
    half = HALF.get(found["leaf"])
    return Slice(runtime(found["experts"]), "down_proj" if half is None else "gate_up_proj", int(found["expert"]), half)


def runtime(name: str) -> str:
    """The name that transformers gives to what a checkpoint calls ``name``."""
    return name.replace(*RENAMED)


def fuse(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by checkpoint name (``….weight``) as the runtime module's parameters; differentiable.

    Raises ``RuntimeError`` where matrices of an expert are missing.
    """
    fused: dict[str, Tensor] = {}
    parts: dict[str, dict[tuple[int, int], Tensor]] = {}
    for name, tensor in tensors.items():
        place = slice_of(name.removesuffix(".weight"))
        if place is None:
            fused[runtime(name)] = tensor
        else:
            key = f"{place.module}.{place.parameter}"
            parts.setdefault(key, {})[place.expert, place.half or 0] = tensor
    for key, found in parts.items():
        halves = 1 + max(half for _, half in found)
        n_experts = 1 + max(expert for expert, _ in found)
        places = [[(expert, half) for half in range(halves)] for expert in range(n_experts)]
        if lost := {place for row in places for place in row} - set(found):
            raise RuntimeError(f"{key}: the matrices of expert {min(lost)[0]} are missing")
        fused[key] = torch.stack([torch.cat([found[place] for place in row]) for row in places])
    return fused


def fill(model: Any, tensors: Iterable[tuple[str, Tensor]], device: torch.device, dtype: torch.dtype) -> None:
    """Give a transformers model that is on meta its weights, by checkpoint name, as they come: none is held twice.

    Its own buffers are there already (:mod:`ptqbench.models.buffers`). A head that is the embedding needs no tensor.
    Raises ``RuntimeError`` where matrices of an expert are missing.
    """
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    state: dict[str, Tensor] = {}
    waiting: dict[str, set[tuple[int, int]]] = {}
    for name, tensor in tensors:
        place = slice_of(name.removesuffix(".weight"))
        if place is None:
            state[runtime(name)] = tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype)
            continue
        key = f"{place.module}.{place.parameter}"
        halves = 1 if place.half is None else 2
        if key not in state:
            state[key] = torch.empty(shapes[key], dtype=dtype, device=device)
            waiting[key] = {(expert, half) for expert in range(shapes[key][0]) for half in range(halves)}
        state[key][place.expert].chunk(halves)[place.half or 0].copy_(tensor)
        waiting[key].discard((place.expert, place.half or 0))
    for key, lost in waiting.items():
        if lost:
            raise RuntimeError(f"{key}: the matrices of expert {min(lost)[0]} are missing")
    words = model.get_input_embeddings().weight
    tied = [name for name, weight in model.state_dict(keep_vars=True).items() if weight is words]
    stored = next(name for name in tied if name in state)
    model.load_state_dict(dict.fromkeys(tied, state[stored]) | state, assign=True)
    model.tie_weights()


def weight_view(block: nn.Module, linear: str) -> Tensor:
    """The weight ``[m, n]`` of a linear by checkpoint name, as a view of the block's parameter: writing changes it."""
    place = slice_of(linear)
    if place is None:
        return block.get_parameter(f"{runtime(linear)}.weight")
    whole = block.get_submodule(place.module).get_parameter(place.parameter)[place.expert]
    return whole if place.half is None else whole.chunk(2)[place.half]


def watched_experts(self: Any, hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """One expert after another: ``hidden [tokens, d]`` through ``index [tokens, top_k]``, summed with ``weights``.

    ``self.observer`` is shown the rows that each expert reads and those that its down projection reads, none where no
    token came; ``self.chosen`` then keeps the router's choices, which ``self.forced`` replaces. ``self.represent`` is
    how linears read their inputs (int8).
    """
    represent: Callable[[Tensor], Tensor] | None = getattr(self, "represent", None)
    observer: Observer | None = getattr(self, "observer", None)
    forced: Tensor | None = getattr(self, "forced", None)
    index = index if forced is None else forced
    if observer is not None:
        self.chosen = index
    out = torch.zeros_like(hidden)
    for expert in range(self.num_experts):
        token, slot = torch.where(index == expert)
        if not len(token) and observer is None:
            continue
        rows = hidden[token] if represent is None else represent(hidden[token])
        inner = self._apply_gate(F.linear(rows, self.gate_up_proj[expert]))
        inner = inner if represent is None else represent(inner)
        if observer is not None:
            observer("in", expert, rows)
            observer("hidden", expert, inner)
        part = F.linear(inner, self.down_proj[expert]) * weights[token, slot, None]
        out = out.index_add(0, token, part.to(out.dtype))
    return out


ALL_EXPERTS_FUNCTIONS.register(NAME, watched_experts)


@contextmanager
def routed_alike(block: nn.Module, example: nn.Module) -> Iterator[None]:
    """Inside, the mixtures of ``block`` send tokens where those of ``example`` sent them when last observed."""
    chosen = {name: module.chosen for name, module in example.named_modules() if hasattr(module, "chosen")}
    for name, index in chosen.items():
        block.get_submodule(name).forced = index
    try:
        yield
    finally:
        for name in chosen:
            del block.get_submodule(name).forced


def make_watchable(model: Any) -> None:
    """Let the mixtures of a transformers model compute by :func:`watched_experts`; other models are left alone."""
    if any(hasattr(module, "gate_up_proj") and hasattr(module, "num_experts") for module in model.modules()):
        model.set_experts_implementation(NAME)
        assert model.config._experts_implementation == NAME, "transformers keeps silent where it cannot set it"
