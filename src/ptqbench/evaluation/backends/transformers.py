"""Evaluation in process, through ``AutoModelForCausalLM.from_pretrained``: what any host can run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from ptqbench.errors import UserError
from ptqbench.evaluation.backends.text import Setup, Text
from ptqbench.evaluation.perplexity import token_losses


class Backend(Text):
    """A checkpoint folder loaded for scoring; packed weights are decompressed once, at load."""

    def __init__(self, folder: Path, device: str, remote: bool) -> None:
        super().__init__(folder, remote)
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        extra = decompression(getattr(self.config, "quantization_config", None))
        options = {"dtype": dtype, "trust_remote_code": remote, "output_loading_info": True, **extra}
        model, told = AutoModelForCausalLM.from_pretrained(folder, **options)
        if told["missing_keys"]:  # transformers fills them at random
            raise UserError(f"the checkpoint {folder} lacks the tensor {min(told['missing_keys'])}: export it again")
        self.model = model.to(device=device, dtype=dtype).eval()

    def token_losses(self, cut: Tensor, batch_size: int) -> Iterator[Tensor]:
        """See :func:`ptqbench.evaluation.perplexity.token_losses`."""
        return token_losses(self.model, cut, batch_size)

    def harness(self, batch_size: int, length: int) -> Any:
        """The model as lm-eval takes it, for prompts of at most ``length`` tokens."""
        from lm_eval.models.huggingface import HFLM

        return HFLM(pretrained=self.model, tokenizer=self.tokenizer, batch_size=batch_size, max_length=length)

    def record(self) -> dict[str, Any]:
        """What only the backend can measure: nothing."""
        return {}


@contextmanager
def opened(text: Text, setup: Setup) -> Iterator[Backend]:
    """A checkpoint ready to evaluate."""
    yield Backend(text.folder, setup.device, setup.remote)


def decompression(quantization: dict[str, Any] | Any | None) -> dict[str, Any]:
    """Arguments that make transformers decompress a packed checkpoint at load."""
    if quantization is None:
        return {}
    settings = quantization if isinstance(quantization, dict) else quantization.to_dict()
    if settings.get("quant_method") != "compressed-tensors":
        return {}
    bits = [group["weights"]["num_bits"] for group in settings["config_groups"].values()]
    version = metadata.version("compressed-tensors")
    if any(32 % bit for bit in bits) and tuple(map(int, version.split(".")[:2])) < (0, 18):
        raise UserError(
            f"compressed-tensors {version} reads {bits}-bit codes in another layout than vLLM and 0.18 or later: "
            "upgrade compressed-tensors, or set export.format to dense"
        )
    from transformers import CompressedTensorsConfig

    return {"quantization_config": CompressedTensorsConfig(run_compressed=False)}
