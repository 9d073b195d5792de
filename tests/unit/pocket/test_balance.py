"""Training of mixtures: the dense computation is the routed one, and its extra loss spreads the traffic."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from ptqbench.models import deepseek  # noqa: F401 (registers its model class)
from ptqbench.pocket.balance import balance_loss, balanced

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
FAMILIES = {
    "mixtral": {"intermediate_size": 16, "num_local_experts": 4, "num_experts_per_tok": 2},
    "deepseek": {"intermediate_size": 48, "moe_intermediate_size": 16, "n_routed_experts": 8, "num_experts_per_tok": 3},
    "llama": {"intermediate_size": 48},
}


def make(family: str) -> nn.Module:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SHAPE, **FAMILIES[family], vocab_size=50, initializer_range=0.3)
    return AutoModelForCausalLM.from_config(config)


def tokens() -> Tensor:
    return torch.randint(0, 50, (2, 16), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_dense_computation_is_the_routed_one(family: str) -> None:
    model = make(family).eval()
    with torch.no_grad():
        expected = model(input_ids=tokens()).logits
        with balanced(model, 0.1):
            found = model(input_ids=tokens()).logits
        again = model(input_ids=tokens()).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(again, expected)


def test_equal_traffic_costs_one_and_a_collapse_costs_the_number_of_experts() -> None:
    even = torch.arange(8).view(4, 2)
    assert balance_loss(torch.zeros(4, 8), even).item() == pytest.approx(1.0)
    collapsed = torch.full((4, 8), -50.0)
    collapsed[:, 0] = 50.0
    assert balance_loss(collapsed, torch.zeros(4, 1, dtype=torch.int64)).item() == pytest.approx(8.0)


def test_the_gradient_is_that_of_both_losses() -> None:
    model = make("deepseek").train()
    router = model.model.layers[1].mlp.gate
    gradients = []
    for balance in (0.0, 0.5):
        with balanced(model, balance):
            model(input_ids=tokens(), labels=tokens()).loss.backward()
        gradients.append(router.weight.grad.clone())
        model.zero_grad()
    caught: list[Tensor] = []
    handle = router.register_forward_hook(lambda module, args, out: caught.append(balance_loss(out[0], out[2])))
    model(input_ids=tokens())
    handle.remove()
    expected = torch.autograd.grad(caught[0], router.weight)[0]
    torch.testing.assert_close(gradients[1] - gradients[0], 0.5 * expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("family", ["mixtral", "deepseek"])
def test_training_spreads_the_traffic(family: str) -> None:
    model = make(family).train()
    router = model.model.layers[1].mlp.gate
    with torch.no_grad():
        router.weight[0] += 1.0
        router.weight[1] -= 1.0
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)

    def unbalance() -> float:
        caught: list[Tensor] = []
        handle = router.register_forward_hook(lambda module, args, out: caught.append(balance_loss(out[0], out[2])))
        with torch.no_grad():
            model(input_ids=tokens())
        handle.remove()
        return caught[0].item()

    before = unbalance()
    with balanced(model, 1.0):
        for _ in range(30):
            model(input_ids=tokens(), labels=tokens()).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert before > 1.05
    assert unbalance() - 1 < 0.5 * (before - 1)
