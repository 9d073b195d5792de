"""The training loop, and the whole program on a model that is trained in a second."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from ptqbench.model_checks import read_shapes
from ptqbench.pocket.__main__ import main
from ptqbench.pocket.train import Schedule, batches, optimizer_for, train

CPU = torch.device("cpu")
SCHEDULE = Schedule(
    steps=40, minutes=5, batch_size=8, context=16, learning_rate=0.01, weight_decay=0.1, warmup=4, seed=0
)


def stream(n: int = 2000) -> np.ndarray:
    """A sequence that repeats every seven tokens."""
    return (np.arange(n) % 7).astype(np.uint16)


def test_the_rate_warms_up_and_falls_to_a_hundredth() -> None:
    rates = [SCHEDULE.rate(step, elapsed=0.0) for step in range(SCHEDULE.steps + 1)]
    assert rates[:3] == pytest.approx([0.01 * (step + 1) / 4 for step in range(3)], rel=0.02)
    assert max(rates) == pytest.approx(0.01, rel=0.02)
    assert rates[-1] == pytest.approx(0.0001)
    assert all(later < earlier for earlier, later in pairwise(rates[4:]))


def test_time_runs_the_schedule_down_as_steps_do() -> None:
    assert SCHEDULE.rate(20, elapsed=0.0) == pytest.approx(SCHEDULE.rate(20, elapsed=150.0))
    assert SCHEDULE.rate(20, elapsed=300.0) == pytest.approx(0.0001)


def test_batches_are_passages_and_seeded() -> None:
    tokens = np.arange(500, dtype=np.uint16)
    first, again = (next(batches(tokens, SCHEDULE, CPU)) for _ in range(2))
    other = next(batches(tokens, replace(SCHEDULE, seed=1), CPU))
    assert first.shape == (8, 17)
    assert first.dtype == torch.int64
    assert torch.equal(first.diff(dim=1), torch.ones(8, 16, dtype=torch.int64))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_large_token_ids_survive() -> None:
    tokens = np.full(100, 60_000, dtype=np.uint16)
    assert next(batches(tokens, SCHEDULE, CPU)).unique().tolist() == [60_000]


def test_only_matrices_decay() -> None:
    model = tiny.model(dtype=torch.float32)
    decayed, others = optimizer_for(model, SCHEDULE).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert all(parameter.dim() == 2 for parameter in decayed["params"])
    assert sum(len(group["params"]) for group in (decayed, others)) == len(list(model.parameters()))


def test_a_pattern_is_learned() -> None:
    outcome = train(tiny.model(dtype=torch.float32), stream(), replace(SCHEDULE, steps=150), CPU)
    assert outcome["steps"] == 150
    assert outcome["tokens"] == 150 * 8 * 16
    assert outcome["loss"] < 1.0 < np.log(7)


def test_time_ends_the_training() -> None:
    outcome = train(tiny.model(dtype=torch.float32), stream(), replace(SCHEDULE, steps=10**6, minutes=0.5 / 60), CPU)
    assert 0 < outcome["steps"] < 10**6
    assert outcome["seconds"] < 5


def test_the_program_writes_a_model_that_the_benchmark_takes(tmp_path: Path) -> None:
    recipe = {
        "name": "smallest-llama",
        "provenance": "Random sentences.",
        "seed": 0,
        "model": {
            "model_type": "llama",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 32,
            "tie_word_embeddings": False,
        },
        "tokenizer": {"vocab_size": 300, "documents": 100},
        "data": {"wikitext": "wiki*", "share": 0.5},
        "training": {
            "steps": 30,
            "minutes": 1.0,
            "batch_size": 4,
            "context": 32,
            "learning_rate": 0.01,
            "weight_decay": 0.1,
            "warmup": 5,
        },
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "train.txt").write_text(tiny.text(4000))
    (tmp_path / "held-out.txt").write_text(tiny.text(1000, seed=1))
    out = tmp_path / "model"
    files = ["--text", tmp_path / "train.txt", "--evaluate", tmp_path / "held-out.txt"]
    main([str(word) for word in ["--recipe", tmp_path / "recipe.yaml", *files, "--out", out]])

    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == torch.bfloat16
    assert model.config.vocab_size == len(AutoTokenizer.from_pretrained(out)) == 300
    assert model.config.bos_token_id == AutoTokenizer.from_pretrained(out).bos_token_id
    assert len(read_shapes("smallest", out, {})) == 2 * 7
    card = (out / "README.md").read_text()
    assert "# smallest-llama" in card
    assert "Random sentences." in card
    score = float(card.split("| held-out.txt | ")[1].split(" bits per byte |")[0])
    assert 0.2 < score < 6  # bits per byte: far below the 8 of random bytes
    assert yaml.safe_load((out / "recipe.yaml").read_text()) == recipe

    again = tmp_path / "again"
    main([str(word) for word in ["--recipe", out / "recipe.yaml", *files, "--tokenizer", out, "--out", again]])
    assert (again / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
    assert AutoTokenizer.from_pretrained(again)("The cat.") == AutoTokenizer.from_pretrained(out)("The cat.")
