"""DeepSeekMoE (arXiv 2401.06066), which transformers has no class for: importing this registers ``deepseek``.

Llama's attention and norms; the first ``first_k_dense_replace`` blocks have a dense MLP, the others shared experts that
every token takes and routed ones by softmax and greedy top-k. Experts are fused as in the native mixtures, and
checkpoints keep the hub's names (``mlp.experts.0.gate_proj.weight``, …). The router computes in float32.
"""

# mypy: allow-subclassing-any
from __future__ import annotations

from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, LlamaModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping
from transformers.integrations import use_experts_implementation
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from ptqbench.models.adapters.deepseek import is_sparse


@strict
class DeepseekConfig(LlamaConfig):
    """The hub's ``config.json`` of DeepSeekMoE."""

    model_type = "deepseek"

    moe_intermediate_size: int = 1408
    n_routed_experts: int = 64
    n_shared_experts: int | None = 2
    num_experts_per_tok: int = 6
    first_k_dense_replace: int = 1
    moe_layer_freq: int = 1
    norm_topk_prob: bool = False
    scoring_func: str = "softmax"


class DeepseekMLP(nn.Module):
    """``down(act(gate(x)) · up(x))``."""

    def __init__(self, config: DeepseekConfig, width: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.down_proj = nn.Linear(width, config.hidden_size, bias=False)
        self.act_fn = ACT2FN[config.hidden_act]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))
        return out


class DeepseekRouter(nn.Module):
    """Probabilities of all experts, of which the ``top_k`` largest are kept."""

    def __init__(self, config: DeepseekConfig) -> None:
        super().__init__()
        self.top_k, self.normalized = config.num_experts_per_tok, config.norm_topk_prob
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, config.hidden_size))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits ``[tokens, experts]``, weights and indices of the chosen experts ``[tokens, top_k]``."""
        logits = F.linear(x.flatten(0, -2).float(), self.weight.float())
        weights, index = logits.softmax(-1).topk(self.top_k, dim=-1)
        if self.normalized:
            weights = weights / weights.sum(-1, keepdim=True)
        return logits, weights, index


@use_experts_implementation
class DeepseekExperts(nn.Module):
    """All routed experts: ``gate_up_proj [experts, 2 width, d]``, gate first; ``down_proj [experts, d, width]``."""

    def __init__(self, config: DeepseekConfig) -> None:
        super().__init__()
        self.num_experts = config.n_routed_experts
        width, d = config.moe_intermediate_size, config.hidden_size
        self.gate_up_proj = nn.Parameter(torch.empty(self.num_experts, 2 * width, d))
        self.down_proj = nn.Parameter(torch.empty(self.num_experts, d, width))
        self.act_fn = ACT2FN[config.hidden_act]
        self._apply_gate: Any

    def forward(self, x: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        """``x [tokens, d]`` through the experts ``index [tokens, top_k]``, summed with ``weights``."""
        out = torch.zeros_like(x)
        for expert in range(self.num_experts):
            token, slot = torch.where(index == expert)
            hidden = self._apply_gate(F.linear(x[token], self.gate_up_proj[expert]))
            part = F.linear(hidden, self.down_proj[expert]) * weights[token, slot, None]
            out.index_add_(0, token, part.to(out.dtype))
        return out


class DeepseekMoe(nn.Module):
    """Routed experts, and shared ones as one MLP."""

    def __init__(self, config: DeepseekConfig) -> None:
        super().__init__()
        self.gate = DeepseekRouter(config)
        self.experts = DeepseekExperts(config)
        if config.n_shared_experts:
            self.shared_experts = DeepseekMLP(config, config.n_shared_experts * config.moe_intermediate_size)

    def forward(self, x: Tensor) -> Tensor:
        _, weights, index = self.gate(x)
        out: Tensor = self.experts(x.flatten(0, -2), index, weights).view_as(x)
        return out + self.shared_experts(x) if hasattr(self, "shared_experts") else out


class DeepseekDecoderLayer(LlamaDecoderLayer):
    """A Llama block whose MLP is a mixture in sparse layers."""

    def __init__(self, config: DeepseekConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        if is_sparse(config.to_dict(), layer_idx):
            self.mlp = DeepseekMoe(config)


class Mixture:
    """What Llama's classes do not know: bare parameters' initial weights, and that the experts' function may be set."""

    @classmethod
    def _can_set_experts_implementation(cls) -> bool:
        return True  # otherwise inherited from Llama's, once one of those was asked

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[misc]
        if isinstance(module, DeepseekRouter | DeepseekExperts):
            for parameter in module.parameters():
                init.normal_(parameter, mean=0.0, std=self.config.initializer_range)  # type: ignore[attr-defined]


class DeepseekModel(Mixture, LlamaModel):
    """The decoder without its head."""

    config_class = DeepseekConfig
    _no_split_modules = ["DeepseekDecoderLayer"]  # noqa: RUF012 (transformers' protocol)

    def __init__(self, config: DeepseekConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList([DeepseekDecoderLayer(config, index) for index in range(config.num_hidden_layers)])
        self.post_init()


class DeepseekForCausalLM(Mixture, LlamaForCausalLM):
    """The language model, as the hub's checkpoints name it."""

    config_class = DeepseekConfig
    _no_split_modules = ["DeepseekDecoderLayer"]  # noqa: RUF012

    def __init__(self, config: DeepseekConfig) -> None:
        super(LlamaForCausalLM, self).__init__(config)  # not the parent's own, which would build a Llama
        self.model = DeepseekModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()


AutoConfig.register("deepseek", DeepseekConfig)
AutoModel.register(DeepseekConfig, DeepseekModel)
AutoModelForCausalLM.register(DeepseekConfig, DeepseekForCausalLM)
register_checkpoint_conversion_mapping("deepseek", get_checkpoint_conversion_mapping("qwen2_moe"), overwrite=True)
