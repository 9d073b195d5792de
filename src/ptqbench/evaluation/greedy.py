"""Greedy answers to prompts with images, in plain torch: the same for every model that is called as LLaVA is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

IMAGE = "<image>"


def prompt_ids(tokenize: Callable[[str, bool], list[int]], prompt: str, image_token: int, features: int) -> list[int]:
    """Token ids of a prompt, each ``<image>`` as ``features`` times ``image_token``.

    ``tokenize(text, special)`` adds the tokenizer's special tokens if ``special``: to the first piece only.
    """
    first, *rest = prompt.split(IMAGE)
    ids = tokenize(first, True)
    for piece in rest:
        ids = ids + [image_token] * features + (tokenize(piece, False) if piece else [])
    return ids


@torch.no_grad()
def greedy(model: nn.Module, input_ids: Tensor, pixels: Tensor | None, stops: Sequence[int], limit: int) -> Tensor:
    """The most likely next tokens ``[b, ≤ limit]`` of prompts of one length ``[b, t]``, until all have stopped.

    What follows a stop token is filled with it.
    """
    done = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
    found: list[Tensor] = []
    images: dict[str, Any] = {} if pixels is None else {"pixel_values": pixels}
    for _ in range(limit):
        chosen = model(input_ids=input_ids, use_cache=False, **images).logits[:, -1].float().argmax(-1)
        chosen = chosen.masked_fill(done, stops[0])
        found.append(chosen)
        done |= torch.isin(chosen, torch.tensor(stops, device=chosen.device))
        if bool(done.all()):
            break
        input_ids = torch.cat([input_ids, chosen.unsqueeze(1)], 1)
    return torch.stack(found, 1)
