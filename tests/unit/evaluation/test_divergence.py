"""KL of two models' predictions: exact against torch's own, and what a server's likeliest tokens leave of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from ptqbench.evaluation import divergence
from ptqbench.evaluation.divergence import Top, change

TOKENS, VOCABULARY = 40, 50


def logits(seed: int, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(TOKENS, VOCABULARY, generator=torch.Generator().manual_seed(seed))


REFERENCE, TARGETS = logits(0), torch.arange(TOKENS) % VOCABULARY
OTHERS = [REFERENCE, REFERENCE + 0.01 * logits(1), REFERENCE + logits(2), logits(3, 9.0)]


def top(other: Tensor, k: int) -> Top:
    """As a server names them: k tokens and the one that came, which may be among them."""
    values = other.double().log_softmax(-1)
    best = values.topk(k)
    came = values.gather(1, TARGETS[:, None])
    known = (best.indices == TARGETS[:, None]).any(-1, keepdim=True)
    tokens = torch.cat([best.indices, torch.where(known, 0, TARGETS[:, None])], 1)
    logprobs = torch.cat([best.values, came.masked_fill(known, -torch.inf)], 1)
    return Top(tokens, logprobs.float())


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("at_once", [1, 7 * VOCABULARY, 10**9])
def test_the_exact_change_is_torchs(other: Tensor, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergence, "AT_ONCE", at_once)
    found = change(REFERENCE, other, TARGETS)
    p, q = (Categorical(logits=one.double()) for one in (REFERENCE, other))
    torch.testing.assert_close(found.divergence, kl_divergence(p, q), rtol=1e-9, atol=1e-14)
    assert torch.equal(found.same_top, (REFERENCE.argmax(-1) == other.argmax(-1)).double())
    torch.testing.assert_close(found.shift, q.log_prob(TARGETS).exp() - p.log_prob(TARGETS).exp())


def test_a_model_is_not_far_from_itself() -> None:
    found = change(REFERENCE, REFERENCE.clone(), TARGETS)
    assert found.divergence.tolist() == found.shift.tolist() == [0.0] * TOKENS
    assert found.same_top.tolist() == [1.0] * TOKENS


@pytest.mark.parametrize("other", OTHERS)
def test_the_likeliest_tokens_bound_it_from_below(other: Tensor) -> None:
    whole = change(REFERENCE, other, TARGETS)
    before = torch.zeros(TOKENS, dtype=torch.float64)
    for k in (1, 5, 20, VOCABULARY):
        found = change(REFERENCE, top(other, k), TARGETS)
        assert (found.divergence <= whole.divergence + 1e-5).all(), "to the rounding of float32"
        assert (found.divergence >= before - 1e-5).all(), "more tokens say more"
        assert torch.equal(found.same_top, whole.same_top)
        torch.testing.assert_close(found.shift, whole.shift, rtol=0, atol=1e-6)
        before = found.divergence
    torch.testing.assert_close(before, whole.divergence, rtol=1e-5, atol=1e-5)


def test_what_is_lumped_is_the_rest() -> None:
    """By hand: of three tokens the first is named."""
    reference, q = torch.tensor([[0.5, 0.3, 0.2]]).log(), torch.tensor([[0.25]])
    found = change(reference, Top(torch.zeros(1, 1, dtype=torch.long), q.log()), torch.tensor([0]))
    expected = 0.5 * torch.tensor(0.5 / 0.25).log() + 0.5 * torch.tensor(0.5 / 0.75).log()
    assert found.divergence.item() == pytest.approx(expected.item(), abs=1e-5)
    assert found.shift.item() == pytest.approx(-0.25)
