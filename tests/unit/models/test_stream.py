"""Blocks alone are run as the whole model runs them: each with the mask and the positions that the model hands it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from layer_kinds import WINDOW, described, hessians, kinds, named
from safetensors.torch import load_file
from tiny_models import SEEING, make_model, pictures, tokens, write_statistics
from torch import Tensor, nn
from transformers import DynamicCache

from ptqbench.methods.training.descent import resplit
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.load import load_whole
from ptqbench.models.stream import BlockInput, Call, caught, move_on
from ptqbench.statistics.hessian import unfold

CPU = torch.device("cpu")


def test_every_described_model_has_its_kinds_of_layers() -> None:
    found = {family for family, changes in kinds() if changes}
    types = "mistral mixtral qwen2 qwen3 qwen2_moe qwen3_moe ministral3 smollm3 starcoder2 phi3 gemma2 gemma3_text"
    assert found == {described()[kind] for kind in f"{types} cohere2 exaone4 olmo3".split()}
    assert tokens().shape[1] > 2 * WINDOW


def check_statistics(folder: Path, scratch: Path, vision_tower: bool = False, remote: bool = False) -> None:
    """Stored Hessians are those that hooks on the plain model see."""
    checkpoint = Checkpoint(folder, vision_tower, remote)
    model = load_whole(checkpoint, torch.float32)
    shown = pictures(checkpoint) if vision_tower else []
    calls = [{"input_ids": one.ids, "pixel_values": one.pixels} for one in shown] or [{"input_ids": tokens()}]
    expected = hessians(model, checkpoint.adapter, checkpoint.config, calls)
    written = write_statistics(folder, scratch, vision_tower, remote)
    for (index, site), own in expected.items():
        stored = load_file(written / f"block-{index:03d}.safetensors")[f"{site}.hessian"]
        found = unfold(stored, len(own)).double()
        assert (found - own).norm() <= 1e-5 * own.norm() + 1e-12, (index, site)
    assert {index for index, _ in expected} == set(range(checkpoint.n_blocks))


@pytest.mark.parametrize("kind", kinds(), ids=named)
def test_statistics_are_those_of_the_whole_model(tmp_path: Path, kind: tuple[str, dict[str, Any]]) -> None:
    family, changes = kind
    check_statistics(make_model(tmp_path / "model", family, **changes), tmp_path / "statistics")


@pytest.mark.parametrize("family", SEEING)
def test_statistics_of_a_tower_and_what_reads_it(tmp_path: Path, family: str) -> None:
    tower = {"hidden_size": 32, "intermediate_size": 128}
    check_statistics(make_model(tmp_path / "model", family, tower=tower), tmp_path / "statistics", vision_tower=True)


CODE = """
import torch
from torch import nn
from transformers import LlamaForCausalLM, LlamaModel
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.llama.modeling_llama import LlamaDecoderLayer


def frequencies(width):
    return 1 / 100 ** (torch.arange(0, width, 2) / width)


class Rotary(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width = width
        self.register_buffer("inv_freq", frequencies(width), persistent=False)

    def forward(self, t):
        angles = torch.outer(torch.arange(t).float(), self.inv_freq).repeat(1, 2)[None]
        return angles.cos(), angles.sin()


class Layer(LlamaDecoderLayer):
    def __init__(self, config, index):
        super().__init__(config, index)
        self.rotary, self.reach = Rotary(config.head_dim), 4 if index else 24

    def forward(self, hidden, mask, positions=None, use_cache=None):
        tables = self.rotary(hidden.shape[1])
        return (super().forward(hidden, attention_mask=mask, position_embeddings=tables), None)


class OldModel(LlamaModel):
    def __init__(self, config):
        super().__init__(config)
        self.layers = nn.ModuleList(Layer(config, index) for index in range(config.num_hidden_layers))

    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, Rotary):
            module.inv_freq.copy_(frequencies(module.width))

    def forward(self, input_ids=None, use_cache=None, **kwargs):
        hidden = self.embed_tokens(input_ids)
        causal = torch.ones(hidden.shape[1], hidden.shape[1]).tril().bool()[None, None]
        for layer in self.layers:
            hidden = layer(hidden, causal.triu(1 - layer.reach), None, use_cache=use_cache)[0]
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden))


class Old(LlamaForCausalLM):
    def __init__(self, config):
        super().__init__(config)
        self.model = OldModel(config)
        self.post_init()
"""


def test_code_of_older_models(tmp_path: Path) -> None:
    """Blocks that return tuples, have rotary tables of their own, and are asked how far they see."""
    folder = make_model(tmp_path / "model")
    settings = json.loads((folder / "config.json").read_text())
    settings["auto_map"] = {"AutoModelForCausalLM": "modeling_old.Old"}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "modeling_old.py").write_text(CODE)
    check_statistics(folder, tmp_path / "statistics", remote=True)


def mixed(blocks: nn.ModuleList, hidden: Tensor, as_tuple: bool) -> None:
    """A forward pass whose blocks differ, handed by place, some of it made anew for each block."""
    t = hidden.shape[1]
    causal = torch.ones(t, t).tril().bool()[None, None].expand(len(hidden), 1, t, t)
    for index, block in enumerate(blocks):
        mask = causal.triu(-2) if block.is_sliding else causal
        positions = torch.arange(t)[None] * (1 + index % 2)
        found = block(hidden + 0, mask, {"full": (positions, positions + 1)}, DynamicCache(), use_cache=False)
        hidden = found[0] if as_tuple else found


class Plain(nn.Module):
    def __init__(self, is_sliding: bool) -> None:
        super().__init__()
        self.weight, self.is_sliding = nn.Parameter(torch.ones(())), is_sliding

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        raise AssertionError("a block that computed something")


@pytest.mark.parametrize("as_tuple", [False, True])
def test_blocks_get_what_the_model_hands_them_by_place_or_name(as_tuple: bool) -> None:
    blocks = nn.ModuleList(Plain(bool(index % 2)) for index in range(6))
    prompts = [torch.randn(2, 5, 4), torch.randn(2, 5, 4)]
    found = caught(blocks, prompts, lambda hidden: mixed(blocks, hidden, as_tuple))
    assert [torch.equal(item.hidden, prompt) for item, prompt in zip(found, prompts, strict=True)] == [True, True]
    assert all(type(item.hidden) is Tensor for item in found)
    for item in found:
        for index, call in enumerate(item.calls):
            mask, positions, cache = call.args
            assert cache is None, "what one block wrote there, the next would read"
            assert call.kwargs == {"use_cache": False}
            assert mask[0, 0, 4].tolist() == ([False, False, True, True, True] if index % 2 else [True] * 5)
            assert positions["full"][1].tolist() == [[1 + n * (1 + index % 2) for n in range(5)]]
    tensors = [t for item in found for c in item.calls for t in (c.args[0], *c.args[1]["full"])]
    assert len({id(tensor) for tensor in tensors}) == 2 + 4, "equal tensors are kept once"
    assert "forward" not in vars(blocks[0]), "the blocks are themselves again"


def test_an_item_moves_through_its_calls() -> None:
    calls = tuple(Call((n,), {"n": n}) for n in range(3))
    item = BlockInput(torch.zeros(4, 2, 3), calls)
    move_on(item, item.hidden + 1)
    assert (item.call.args, item.call.kwargs) == ((1,), {"n": 1})
    assert item.hidden.min() == 1


def test_smaller_batches_take_their_rows_of_whatever_has_rows() -> None:
    mask, shared = torch.arange(4)[:, None, None, None].expand(4, 1, 2, 2), torch.zeros(1, 2, 3)
    item = BlockInput(torch.zeros(4, 2, 3), (Call((mask,), {"positions": {"full": (mask, shared)}, "flag": True}),))
    items, _ = resplit([item], [torch.zeros(4, 2, 3)], 3)
    assert [len(one.call.args[0]) for one in items] == [3, 1]
    own, common = items[1].call.kwargs["positions"]["full"]
    assert own.flatten().tolist() == [3] * 4
    assert common is shared
    assert items[1].call.kwargs["flag"] is True
