"""Prompts with images and greedy answers."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn

from ptqbench.evaluation.greedy import greedy, prompt_ids


class Counting(nn.Module):
    """Answers with the last token plus one, modulo ten."""

    def forward(self, input_ids: Tensor, **kwargs: object) -> SimpleNamespace:
        return SimpleNamespace(logits=nn.functional.one_hot((input_ids + 1) % 10, 10).float())


def test_an_image_becomes_a_run_and_only_the_start_gets_special_tokens() -> None:
    def tokenize(text: str, special: bool) -> list[int]:
        return ([1] if special else []) + [ord(letter) for letter in text]

    found = prompt_ids(tokenize, "a<image>b<image>", -200, 3)
    assert found == [1, ord("a"), -200, -200, -200, ord("b"), -200, -200, -200]


def test_answers_end_at_a_stop_and_are_filled_with_it() -> None:
    prompts = torch.tensor([[0, 5], [0, 7]])
    assert greedy(Counting(), prompts, None, [9], 6).tolist() == [[6, 7, 8, 9], [8, 9, 9, 9]]
    assert greedy(Counting(), prompts, None, [9], 2).tolist() == [[6, 7], [8, 9]]
