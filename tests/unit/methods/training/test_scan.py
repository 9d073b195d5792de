"""The scan against transformers' own Mamba and against numerical gradients."""

from __future__ import annotations

import torch
from transformers import MambaConfig, MambaForCausalLM
from transformers.models.mamba.modeling_mamba import MambaMixer

from ptqbench.methods.training.scan import fast_mamba, recurrence


def model() -> MambaForCausalLM:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "vocab_size": 50, "time_step_rank": 8}
    return MambaForCausalLM(MambaConfig(**shape, pad_token_id=0, bos_token_id=0, eos_token_id=0)).float()


def test_gradients_of_the_recurrence() -> None:
    torch.manual_seed(0)
    decay, inflow = (torch.rand(5, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(recurrence, (decay, inflow))


def test_the_model_computes_what_transformers_computes_and_its_gradients_are_the_same() -> None:
    tokens = torch.randint(0, 50, (3, 17), generator=torch.Generator().manual_seed(1))
    slow, fast = model().eval(), model().eval()
    expected = slow(input_ids=tokens, labels=tokens, use_cache=False)
    expected.loss.backward()
    with fast_mamba():
        found = fast(input_ids=tokens, labels=tokens, use_cache=False)
        found.loss.backward()
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-5)
    for (name, ours), theirs in zip(fast.named_parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_the_patch_ends_with_the_context() -> None:
    original = MambaMixer.forward
    with fast_mamba():
        assert MambaMixer.forward is not original
    assert MambaMixer.forward is original
