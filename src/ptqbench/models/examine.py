"""A model folder as transformers would load it, without its weights: whatever would stop a later job is said at once.

The tensors' headers become tensors on the meta device and go through transformers' own loader, which knows every
renaming and fusing; one pass on that device shows whether the shapes fit together.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    GenerationConfig,
)
from transformers.utils import GENERATION_CONFIG_NAME, logging

from ptqbench.errors import UserError
from ptqbench.models import deepseek  # noqa: F401 (registers its model class)
from ptqbench.models.adapter import Adapter, load_adapter
from ptqbench.models.headers import Header, read_config, read_headers
from ptqbench.models.load import image_processor
from ptqbench.models.parts import parts, places, text_folder
from ptqbench.models.recomputed import is_recomputed
from ptqbench.models.vila import DownsampleProjector, Vila
from ptqbench.outside import foreign, shown

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
PROBE = "The cat, 2 dogs and a fish see the river by the house. "
REPEATS = 400  # of the probe: longer than the truncation that any training leaves in a tokenizer
LENGTH = 8  # tokens of the pass


def examine(folder: Path, where: str, remote: bool) -> None:
    """Refuse a folder whose tokenizer, weights or image processor would not do; ``where`` names its config key."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    settings, headers = read_config(folder, where), read_headers(folder, where)
    adapter = load_adapter(settings, where).named_as(headers)
    what = f"{where}: {folder}"
    check_tokenizer(folder, what, remote, headers[f"{adapter.embedding}.weight"].shape[0])
    check_experts(headers, what)
    with foreign(f"{what} has a generation_config.json that does not load"):
        for place in places(folder):
            if (folder / place / GENERATION_CONFIG_NAME).exists():
                GenerationConfig.from_pretrained(folder / place)
    with foreign(f"{what} is no model that transformers can make of its config.json"):
        model = whole(folder, settings, headers, adapter, remote, what)
        if not remote:  # its code need not run on the meta device
            check_pass(model, adapter, settings)
    if adapter.tower:
        with foreign(f"{what} has images that its tower cannot read"):
            check_images(model, folder, settings)


def check_tokenizer(folder: Path, what: str, remote: bool, rows: int) -> None:
    """A tokenizer loads, reads a text to its end and no further, and knows no token beyond the embedding's rows."""
    with foreign(f"{what} has a tokenizer that does not load"):
        tokenizer = AutoTokenizer.from_pretrained(text_folder(folder), trust_remote_code=remote)
        once, often = (tokenizer(PROBE * n, verbose=False)["input_ids"] for n in (REPEATS, 2 * REPEATS))
        short, vocabulary = tokenizer("a", verbose=False)["input_ids"], tokenizer.get_vocab()
    if not vocabulary or not once:
        raise UserError(f"{what} has a tokenizer that finds no token in a text: fetch it again")
    if len(often) < 1.5 * len(once) or len(short) >= len(once):
        raise UserError(
            f"{what} has a tokenizer that cuts or fills every text to {len(once)} tokens, as in its training: remove "
            "truncation and padding from tokenizer.json"
        )
    token, last = max(vocabulary.items(), key=lambda item: item[1])
    if last >= rows:
        raise UserError(
            f"{what} has a tokenizer with the token {shown(token)} as {last}, and an embedding of {rows} rows: "
            "remove the token, or give the model that it belongs to"
        )


def check_experts(headers: dict[str, Header], what: str) -> None:
    """The matrices of a mixture have the same shape in every expert: transformers makes one tensor of them."""
    first: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, header in headers.items():
        before, found, after = name.partition(".experts.")
        _, _, leaf = after.partition(".")
        other, shape = first.setdefault(f"{before}{leaf}" if found else name, (name, header.shape))
        if shape != header.shape:
            raise UserError(
                f"{what} has {name} as {list(header.shape)} beside {other} as {list(shape)}: fetch the model again"
            )


def whole(
    folder: Path, settings: dict[str, Any], headers: dict[str, Header], adapter: Adapter, remote: bool, what: str
) -> Any:
    """The model on the meta device, after all that it has was found in ``headers``, and all of those in it."""
    if not parts(folder):
        auto = AutoModelForImageTextToText if adapter.text else AutoModelForCausalLM
        return loaded(auto, folder, headers, remote, what)
    language, tower = (
        loaded(auto, folder / part, under(headers, part), remote, what)
        for auto, part in ((AutoModelForCausalLM, "llm"), (AutoModel, "vision_tower"))
    )
    with torch.device("meta"):
        model = Vila(settings, language, tower)
    assert isinstance(model.mm_projector, DownsampleProjector)
    projector = under(headers, "mm_projector")
    expected = {name: tuple(tensor.shape) for name, tensor in model.mm_projector.state_dict().items()}
    lost = set(expected) - {name for name, header in projector.items() if header.dtype in DTYPES}
    other = {name: (h.shape, expected[name]) for name, h in projector.items() if h.shape != expected.get(name, h.shape)}
    compare(lost, other, set(projector) - set(expected), projector, what)
    return model.to(torch.float32)


def under(headers: dict[str, Header], part: str) -> dict[str, Header]:
    """The tensors of a part, by their names in it."""
    return {name.removeprefix(f"{part}."): header for name, header in headers.items() if header.part == part}


def loaded(auto: Any, folder: Path, headers: dict[str, Header], remote: bool, what: str) -> Any:
    """A model of the folder's config on the meta device, through transformers' own loader."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=remote)
    with torch.device("meta"):
        kind = type(auto.from_config(config, trust_remote_code=remote))
    tensors = {
        name: torch.empty(header.shape, dtype=DTYPES[header.dtype], device="meta")
        for name, header in headers.items()
        if header.dtype in DTYPES
    }
    options = {"dtype": torch.float32, "device_map": "meta", "ignore_mismatched_sizes": True}
    model, told = kind.from_pretrained(None, config=config, state_dict=tensors, output_loading_info=True, **options)
    other = {name: (tuple(found), tuple(meant)) for name, found, meant in told["mismatched_keys"]}
    recomputed = {name for name, _ in model.named_buffers()}
    surplus = {name for name in told["unexpected_keys"] if name not in recomputed and not is_recomputed(name)}
    compare(told["missing_keys"], other, surplus, headers, what)
    return model


def compare(
    missing: Collection[str],
    other: dict[str, tuple[tuple[int, ...], tuple[int, ...]]],
    unexpected: Collection[str],
    headers: dict[str, Header],
    what: str,
) -> None:
    """Refuse the first difference between a model and the tensors that there are."""
    remedy = "correct config.json, or fetch the model again"
    if missing:
        name = min(missing)
        if name in headers:
            raise UserError(f"{what} has {name} in {headers[name].dtype}: give the float model")
        raise UserError(f"{what} lacks the tensor {name}, which a model of its config.json has: {remedy}")
    if other:
        name, (found, meant) = min(other.items())
        raise UserError(f"{what} has {name} as {list(found)}, which its config.json makes {list(meant)}: {remedy}")
    if unexpected:
        raise UserError(f"{what} has {min(unexpected)}, which a model of its config.json has no place for: {remedy}")


@torch.no_grad()
def check_pass(model: Any, adapter: Adapter, settings: dict[str, Any]) -> None:
    """Run the language model on the meta device; its mask is given, since making one asks for values."""
    language = model.llm if isinstance(model, Vila) else model
    if any(hasattr(module, "gate_up_proj") and hasattr(module, "num_experts") for module in language.modules()):
        language.set_experts_implementation("batched_mm")  # the others ask which tokens came to an expert
    heads = "num_attention_heads" in adapter.needs
    mask = {"attention_mask": torch.zeros(1, 1, LENGTH, LENGTH, device="meta")} if heads else {}
    if adapter.beside:  # learned positions, which are counted in a mask of tokens
        mask["position_ids"] = torch.zeros(1, LENGTH, dtype=torch.long, device="meta")
    language(input_ids=torch.zeros(1, LENGTH, dtype=torch.long, device="meta"), use_cache=False, **mask)


@torch.no_grad()
def check_images(model: Any, folder: Path, settings: dict[str, Any]) -> None:
    """An image of the processor becomes as many features as the config says."""
    from PIL import Image

    processor = image_processor(folder)
    pixels: Tensor = processor([Image.new("RGB", (40, 30))], return_tensors="pt")["pixel_values"].to("meta")
    if isinstance(model, Vila):
        found, meant = model.image_features(pixels).shape[1], model.features
    else:
        features: Any = model.get_image_features(pixel_values=pixels).pooler_output
        found, meant = len(features[0]), int(model.config.image_seq_length)
    if found != meant:
        raise ValueError(f"an image has {found} features, and {meant} places in a prompt")
