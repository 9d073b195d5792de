"""A model on one device, or on several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import hooks

from ptqbench.evaluation.backends import transformers
from ptqbench.models.adapter import load_adapter
from ptqbench.models.headers import read_config
from ptqbench.models.load import load_model


def test_a_cpu_holds_it_whole(tiny_model: Path) -> None:
    backend = transformers.Backend(tiny_model, "cpu", remote=False)
    assert not hasattr(backend.model, "hf_device_map")


def test_a_model_that_does_not_move_is_an_error() -> None:
    class Stubborn(torch.nn.Linear):
        def to(self, *args: Any, **kwargs: Any) -> Stubborn:
            return self

    with pytest.raises(RuntimeError, match="weight stayed on cpu, where meta was asked for"):
        transformers.placed(Stubborn(2, 2), "meta")


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_hold_the_blocks_in_turn(tiny_model: Path) -> None:
    model, _ = load_model(tiny_model, load_adapter(read_config(tiny_model, "tiny")), output_loading_info=True)
    tokens = torch.arange(12).view(1, 12)
    expected = model.to("cuda:0")(input_ids=tokens.to("cuda:0")).logits.cpu()
    found = transformers.placed(model.cpu(), "cuda")
    assert isinstance(found.model.layers[0]._hf_hook, hooks.ModelHook)
    torch.testing.assert_close(found(input_ids=tokens.to(found.device)).logits.cpu(), expected, rtol=1e-4, atol=1e-4)
