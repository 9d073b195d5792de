"""Every kind of layer that a family's config can express, and what the whole model's linears read, by plain hooks."""

from __future__ import annotations

from typing import Any

import torch
from tiny_models import FAMILIES, HIDDEN, MIXTURES, SEEING
from torch import Tensor
from transformers import AutoConfig

from ptqbench.members import members
from ptqbench.models.adapter import Adapter
from ptqbench.models.experts import runtime, slice_of
from ptqbench.models.vila import Vila

WINDOW, BLOCKS = 8, 3


def described() -> dict[str, str]:
    """Every ``model_type`` that an adapter describes, and the tiny family that is one."""
    known = {settings["model_type"]: name for name, settings in reversed((FAMILIES | MIXTURES).items())}
    types = [kind for traits in members("models/adapters").values() for kind in traits["MODEL_TYPES"]]
    return {kind: known[kind] for kind in types}


def kinds() -> list[tuple[str, dict[str, Any]]]:
    """``(family, changes of its config)`` for windows in no block, all, and some, as far as its config has them."""
    found: list[tuple[str, dict[str, Any]]] = []
    for family in described().values():
        found.append((family, {}))
        if family in SEEING:
            continue
        settings = {"hidden_size": HIDDEN, "num_attention_heads": 4, **(FAMILIES | MIXTURES)[family]}
        config = AutoConfig.for_model(**settings)
        if not hasattr(config, "sliding_window"):
            continue
        window: dict[str, Any] = {"sliding_window": WINDOW, "num_hidden_layers": BLOCKS}
        window |= {"use_sliding_window": True} if hasattr(config, "use_sliding_window") else {}
        if not hasattr(config, "layer_types"):
            found.append((family, window))
            continue
        found.append((family, window | {"max_window_layers": 1}))
        for own in ("full sliding full", "sliding full sliding", "sliding sliding sliding"):
            found.append((family, window | {"layer_types": [f"{kind}_attention" for kind in own.split()]}))
    return found


def named(kind: tuple[str, dict[str, Any]]) -> str:
    """A kind of :func:`kinds` in a few words."""
    family, changes = kind
    types = "".join(own[0] for own in changes.get("layer_types", ()))
    return family if not changes else f"{family}-{types or 'window'}"


class Reader:
    """Second moments of what the linears of a plain model read, float64, by the block's index and the site."""

    def __init__(self, model: Any, adapter: Adapter, config: dict[str, Any]) -> None:
        self.sums: dict[tuple[int, str], Tensor] = {}
        self.tokens: dict[tuple[int, str], int] = {}
        blocks = [*tower_blocks(model, adapter), *text_blocks(model, adapter)]
        for index, block in enumerate(blocks):
            for site in adapter.sites(config, index):
                name = (*site.linears, *site.readers)[0]
                place = slice_of(name)
                if place is not None:
                    block.get_submodule(place.module).register_forward_pre_hook(self._routed(index, site.name, place))
                elif site.fed_by:
                    width = block.get_submodule(name).in_features
                    block.get_submodule(site.fed_by).register_forward_hook(
                        lambda _, args, out, key=(index, site.name), n=width: self._add(key, out[..., :n])
                    )
                else:
                    block.get_submodule(runtime(name)).register_forward_pre_hook(
                        lambda _, args, key=(index, site.name): self._add(key, args[0])
                    )

    def hessians(self) -> dict[tuple[int, str], Tensor]:
        """``XᵀX / tokens``."""
        return {key: total / max(self.tokens[key], 1) for key, total in self.sums.items()}

    def _add(self, key: tuple[int, str], x: Tensor) -> None:
        rows = x.flatten(0, -2).double()
        self.sums[key] = self.sums.get(key, 0) + rows.T @ rows
        self.tokens[key] = self.tokens.get(key, 0) + len(rows)

    def _routed(self, index: int, site: str, place: Any) -> Any:
        def hook(module: Any, args: tuple[Any, ...]) -> None:
            hidden, chosen = args[0].flatten(0, -2), args[1]
            rows = hidden[(chosen == place.expert).any(-1)]
            if place.half is None:
                gate, up = (rows @ module.gate_up_proj[place.expert].T).chunk(2, -1)
                rows = module.act_fn(gate) * up
            self._add((index, site), rows)

        return hook


def tower_blocks(model: Any, adapter: Adapter) -> list[Any]:
    """The vision tower's blocks, where they are quantized."""
    if not adapter.tower_blocks:
        return []
    inside = model if isinstance(model, Vila) else model.model
    return list(inside.vision_tower.encoder.layers)


def text_blocks(model: Any, adapter: Adapter) -> list[Any]:
    """The language model's blocks."""
    if isinstance(model, Vila):
        return list(model.llm.model.layers)
    return list(model.model.language_model.layers if adapter.text else model.get_submodule(adapter.blocks))


@torch.no_grad()
def hessians(model: Any, adapter: Adapter, config: dict[str, Any], calls: list[dict[str, Tensor]]) -> Any:
    """What hooks on the whole model see while it is called."""
    reader = Reader(model, adapter, config)
    for call in calls:
        model(**call, use_cache=False)
    return reader.hessians()
