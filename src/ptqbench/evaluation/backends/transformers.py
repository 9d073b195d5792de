"""Evaluation in process, through transformers' ``from_pretrained``: what any host can run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptqbench.data.images import Item, decode
from ptqbench.errors import UserError
from ptqbench.evaluation.backends import packed
from ptqbench.evaluation.backends.online import transform_inputs
from ptqbench.evaluation.backends.text import Setup, Text
from ptqbench.evaluation.greedy import greedy, prompt_ids
from ptqbench.evaluation.perplexity import token_losses
from ptqbench.models.adapter import load_adapter
from ptqbench.models.headers import read_config
from ptqbench.models.load import image_place, image_processor, load_model


class Backend(Text):
    """A checkpoint folder loaded for scoring; packed weights are decompressed once, at load."""

    exact = True  # predictions are whole

    def __init__(self, folder: Path, device: str, remote: bool) -> None:
        super().__init__(folder, remote)
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        settings = getattr(self.config, "quantization_config", None)
        adapter = load_adapter(read_config(folder, str(folder)))
        if settings and packed.is_read_here(folder, settings, adapter):
            several = device == "cuda" and torch.cuda.device_count() > 1  # one may be too small for it
            first = torch.device("cpu" if several else device)
            self.model = placed(packed.load(folder, self.config, settings, dtype, remote, first), device).eval()
            return
        extra = decompression(settings)
        options = {"dtype": dtype, "trust_remote_code": remote, "output_loading_info": True, **extra}
        model, told = load_model(folder, adapter, **options)
        if told["missing_keys"]:  # transformers fills them at random
            raise UserError(
                f"the checkpoint {folder} lacks the tensor {min(told['missing_keys'])}: export or fetch it again"
            )
        if extra:
            freed(model)
            in_dtype(model, dtype)
        if settings and settings.get("transform_config"):
            transform_inputs(model, folder, settings["transform_config"])
        self.model = placed(model, device).eval()

    def token_losses(self, cut: Tensor, batch_size: int) -> Iterator[Tensor]:
        """See :func:`ptqbench.evaluation.perplexity.token_losses`."""
        return token_losses(self.model, cut, batch_size)

    @torch.no_grad()
    def predictions(self, cut: Tensor, batch_size: int, top_k: int) -> Iterator[Tensor]:
        """The logits ``[b, length, vocabulary]`` of each batch of windows."""
        for batch in cut.split(batch_size):
            yield self.model(input_ids=batch.to(self.model.device), use_cache=False).logits

    def answers(self, items: Sequence[Item], limit: int) -> list[str]:
        """Greedy answers of at most ``limit`` tokens; prompts of one length are answered together."""
        processor, place = image_processor(self.folder), image_place(self.model)

        def tokenize(text: str, special: bool) -> list[int]:
            return self.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]

        prompts = [prompt_ids(tokenize, self.prompt(item), *place) for item in items]
        stop, found = self.tokenizer.eos_token_id, [""] * len(items)
        for length in sorted({len(ids) for ids in prompts}):
            rows = [row for row, ids in enumerate(prompts) if len(ids) == length]
            images = [decode(items[row].image) for row in rows]
            pixels = processor(images, return_tensors="pt")["pixel_values"].to(self.model.device, self.model.dtype)
            ids = torch.tensor([prompts[row] for row in rows], device=self.model.device)
            for row, answer in zip(rows, greedy(self.model, ids, pixels, [stop], limit), strict=True):
                found[row] = self.tokenizer.decode(answer, skip_special_tokens=True).strip()
        return found

    def harness(self, batch_size: int, length: int) -> Any:
        """The model as lm-eval takes it, for prompts of at most ``length`` tokens."""
        from lm_eval.models.huggingface import HFLM

        first = self.first_token
        if self.tokenizer.eos_token_id is None:  # lm-eval would pad with a token of its own, beyond the embedding
            self.tokenizer.eos_token = self.tokenizer.convert_ids_to_tokens(first)
        settings = {"batch_size": batch_size, "max_length": length, "prefix_token_id": first}
        return HFLM(pretrained=self.model, tokenizer=self.tokenizer, **settings)

    def record(self) -> dict[str, Any]:
        """What only the backend can measure: nothing."""
        return {}


def freed(model: Any) -> None:
    """Undo compressed-tensors' offloading: a model that was loaded on the CPU would compute there for good.

    From 0.19 on every module keeps its weights in a cache of its own, which ``model.to`` does not move.
    """
    from compressed_tensors.offload import remove_dispatch

    remove_dispatch(model)


def in_dtype(model: Any, dtype: torch.dtype) -> None:
    """Give quantized linears the model's dtype: some compressions leave that of their scales instead.

    In float32 all others get it too, which a model with images was stored without.
    """
    for module in model.modules():
        quantized = hasattr(module, "quantization_scheme")
        for name, parameter in module.named_parameters(recurse=False):
            asked = name == "weight" if quantized else dtype == torch.float32
            if asked and parameter.is_floating_point():
                parameter.data = parameter.data.to(dtype)


def placed(model: Any, device: str) -> Any:
    """The model on the device, or its blocks in turn on all GPUs that this process sees; rotary parts keep float32.

    Weights that stay elsewhere are an error: they would be computed with there, and the report would name the device.
    """
    if device != "cuda" or torch.cuda.device_count() == 1:
        model = model.to(device)
        for name, weight in model.named_parameters():
            if weight.device.type != device:
                raise RuntimeError(f"{name} stayed on {weight.device.type}, where {device} was asked for")
        return model
    from accelerate import dispatch_model, infer_auto_device_map
    from accelerate.utils import get_balanced_memory

    whole = {"no_split_module_classes": model._no_split_modules}
    return dispatch_model(model, infer_auto_device_map(model, get_balanced_memory(model, **whole), **whole))


@contextmanager
def opened(text: Text, setup: Setup) -> Iterator[Backend]:
    """A checkpoint ready to evaluate."""
    yield Backend(text.folder, setup.device, setup.remote)


def decompression(quantization: dict[str, Any] | Any | None) -> dict[str, Any]:
    """Arguments that make transformers decompress a packed checkpoint at load.

    Raises :class:`UserError` for a version of the library that reads another layout.
    """
    if quantization is None:
        return {}
    settings = quantization if isinstance(quantization, dict) else quantization.to_dict()
    if settings.get("quant_method") != "compressed-tensors":
        return {}
    bits = [group["weights"]["num_bits"] for group in settings["config_groups"].values() if group.get("weights")]
    version = metadata.version("compressed-tensors")
    if any(32 % bit for bit in bits) and tuple(map(int, version.split(".")[:2])) < (0, 18):
        raise UserError(
            f"compressed-tensors {version} reads {bits}-bit codes in another layout than vLLM and 0.18 or later: "
            "upgrade compressed-tensors, or set export.format to dense"
        )
    from transformers import CompressedTensorsConfig

    return {"quantization_config": CompressedTensorsConfig(run_compressed=False)}
