"""A Llama of 0.1 M random parameters, its tokenizer and a text: all that a run needs, made in a second."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ptqbench.pocket.corpus import train_tokenizer

HIDDEN, BLOCKS, CONTEXT, VOCABULARY = 64, 2, 64, 300
WORDS = ("the", "a", "red", "old", "young", "cat", "dog", "fish", "sees", "eats", "finds", "by", "river", "house")


def text(n_words: int, seed: int = 0) -> str:
    """Sentences of random words, the same for a seed."""
    rng = random.Random(seed)
    return "\n".join(" ".join(rng.choices(WORDS, k=8)).capitalize() + "." for _ in range(n_words // 8))


def model(seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> LlamaForCausalLM:
    """Two blocks of hidden size 64, two heads of 32 that share one key-value head."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=BLOCKS,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=HIDDEN // 2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        initializer_range=0.1,
    )
    return LlamaForCausalLM(config).to(dtype).eval()


def write_model(folder: Path, seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> Path:
    """A model folder as the hub has them: config, safetensors and tokenizer."""
    model(seed, dtype).save_pretrained(folder)
    train_tokenizer([text(4000)], VOCABULARY, CONTEXT).save_pretrained(folder)
    return folder
