"""A GGUF file becomes a folder that computes what the model did that it was made of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from tiny_models import logits_of, make_model
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from ptqbench.errors import UserError
from ptqbench.gguf import dequantize

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def turned(weight: Tensor, heads: int) -> Tensor:
    """Rows of a head in the order in which llama.cpp rotates them: pairs beside each other."""
    return weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def write(model: Path, file: Path) -> None:
    """The model as GGUF: matrices as Q8_0, norms as float32, and a tokenizer of bytes."""
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    config, writer = loaded.config, GGUFWriter(file, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["t", "1", "2", "t1", "t2", *(f"u{i}" for i in range(5, config.vocab_size))])
    writer.add_token_merges(["t 1", "t 2"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)

    def add(name: str, tensor: Tensor) -> None:
        kind = GGMLQuantizationType.Q8_0 if tensor.dim() == 2 else GGMLQuantizationType.F32
        writer.add_tensor(f"{name}.weight", quantize(tensor.numpy(), kind), raw_dtype=kind)

    for key, tensor in loaded.state_dict().items():
        name = key.removesuffix(".weight")
        if name.startswith("model.layers."):
            _, _, block, place = name.split(".", 3)
            heads = {"self_attn.q_proj": config.num_attention_heads, "self_attn.k_proj": config.num_key_value_heads}
            add(f"blk.{block}.{NAMES[place]}", turned(tensor, heads[place]) if place in heads else tensor)
        else:
            add({"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}[name], tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@torch.no_grad()
def test_a_folder_computes_what_the_file_holds(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    write(model, tmp_path / "tiny.Q8_0.gguf")
    kinds = dequantize(tmp_path / "tiny.Q8_0.gguf", tmp_path / "folder", torch.float32)
    assert set(kinds) == {"Q8_0", "F32"}
    wanted, found = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("model", "folder"))
    assert getattr(found.config, "quantization_config", None) is None
    for name, tensor in wanted.state_dict().items():
        step = tensor.abs().max() / 127
        assert (found.state_dict()[name].float() - tensor).abs().max() <= 0.51 * step + 1e-3 * tensor.abs().max(), name
    logits = logits_of(wanted.float().eval())
    torch.testing.assert_close(logits_of(found.float().eval()), logits, rtol=0, atol=0.1 * logits.abs().max().item())
    assert AutoTokenizer.from_pretrained(tmp_path / "folder")
    assert "Q8_0" in (tmp_path / "folder/README.md").read_text()
    assert len({file.stat().st_mode for file in (tmp_path / "folder").iterdir()}) == 1
    with pytest.raises(UserError, match="is there already"):
        dequantize(tmp_path / "tiny.Q8_0.gguf", tmp_path / "folder", torch.float32)


def test_what_is_no_gguf_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF nonsense" * 20)
    with pytest.raises(UserError, match="is no GGUF file"):
        dequantize(tmp_path / "a.gguf", tmp_path / "folder", torch.bfloat16)
    with pytest.raises(UserError, match="there is no file"):
        dequantize(tmp_path / "b.gguf", tmp_path / "folder", torch.bfloat16)
    assert not (tmp_path / "folder").exists()
