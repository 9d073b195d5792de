"""Evaluation in process, through ``AutoModelForCausalLM.from_pretrained``: what any host can run."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from ptqbench.errors import UserError
from ptqbench.evaluation.perplexity import window_losses
from ptqbench.models import deepseek  # noqa: F401 (registers its model class)

NAME = "transformers"


class Backend:
    """A checkpoint folder loaded for scoring; packed weights are decompressed once, at load."""

    def __init__(self, folder: Path, device: str, remote: bool) -> None:
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        self.config = AutoConfig.from_pretrained(folder, trust_remote_code=remote)
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=remote)
        extra = decompression(getattr(self.config, "quantization_config", None))
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=remote, **extra)
        self.model = model.to(device=device, dtype=dtype).eval()

    @property
    def context(self) -> int:
        """Positions that the model was made for."""
        return int(self.config.get_text_config().max_position_embeddings)

    def tokenize(self, text: str) -> list[int]:
        """Token ids with the tokenizer's own special tokens: one BOS, at the very start, where it has one."""
        ids: list[int] = self.tokenizer(text, verbose=False)["input_ids"]
        return ids

    def window_losses(self, cut: Tensor, batch_size: int) -> Iterator[Tensor]:
        """See :func:`ptqbench.evaluation.perplexity.window_losses`."""
        return window_losses(self.model, cut, batch_size)

    def harness(self, batch_size: int) -> Any:
        """The model as lm-eval takes it; log-likelihoods in float32, which bfloat16 sums would blur."""
        from lm_eval.models.huggingface import HFLM

        sizes = {"batch_size": batch_size, "max_length": self.context}
        return HFLM(pretrained=self.model, tokenizer=self.tokenizer, softmax_dtype="float32", **sizes)


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
