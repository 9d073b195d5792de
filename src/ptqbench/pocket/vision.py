"""Image and text: build a small LLaVA or VILA, and the loss that trains it on questions and plain text at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPImageProcessor, LlavaConfig, LlavaForConditionalGeneration, PreTrainedTokenizerFast

from ptqbench.data.images import SHORT_ANSWER, TURN, Item, decode
from ptqbench.evaluation.greedy import IMAGE, greedy, prompt_ids
from ptqbench.models.vila import MODEL_TYPE, Vila, part_config, under_vision_model
from ptqbench.pocket.train import Schedule, batches, optimize, text_loss

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}USER: "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %} "
    "{% else %}ASSISTANT: {{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
MEAN, DEVIATION = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
IGNORED = -100


def build(settings: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> Any:
    """A ``llava`` or ``llava_llama`` (VILA) model with random weights, sized by a recipe's ``model``."""
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), tokenizer.bos_token_id)
    text = settings["text"] | special | {"vocab_size": len(tokenizer)}
    if settings["model_type"] == MODEL_TYPE:
        projector = {"mm_projector_type": "mlp_downsample"}
        parts = {"llm_cfg": text, "vision_tower_cfg": settings["vision"], "mm_projector_cfg": projector}
        return Vila.from_config({**parts, "mm_vision_select_layer": -2, "mm_vision_select_feature": "cls_patch"})
    vision, image_token = part_config(settings["vision"]), tokenizer.convert_tokens_to_ids(IMAGE)
    side = vision.image_size // vision.patch_size
    shape = {"image_token_index": image_token, "image_seq_length": side * side}
    return LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=part_config(text), **shape))


class Questions:
    """Questions as padded rows: ``ids`` and ``labels`` ``[n, t]``, ``images`` uint8 ``[m, 3, h, w]``, ``image [n]``."""

    def __init__(self, items: Sequence[Item], tokenizer: PreTrainedTokenizerFast, place: tuple[int, int]) -> None:
        numbers = {image: index for index, image in enumerate(dict.fromkeys(item.image for item in items))}
        stacked = np.stack([decode(image) for image in numbers])
        self.images = torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()
        self.image = torch.tensor([numbers[item.image] for item in items])
        self.prompts = [encode_prompt(tokenizer, item.question, place) for item in items]
        ends = [tokenizer(f" {item.answers[0]}", add_special_tokens=False)["input_ids"] for item in items]
        rows = [[*prompt, *end, tokenizer.eos_token_id] for prompt, end in zip(self.prompts, ends, strict=True)]
        length = max(map(len, rows))
        self.ids = torch.full((len(rows), length), tokenizer.eos_token_id)
        self.labels = torch.full((len(rows), length), IGNORED)
        for index, (row, prompt) in enumerate(zip(rows, self.prompts, strict=True)):
            self.ids[index, : len(row)] = torch.tensor(row)
            self.labels[index, len(prompt) : len(row)] = torch.tensor(row[len(prompt) :])

    def batches(self, size: int, seed: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Endless ``(ids, labels, pixels)`` of random questions, their images flipped, moved and resized a little."""
        ids, labels, images, image = (part.to(device) for part in (self.ids, self.labels, self.images, self.image))
        generator = torch.Generator(device).manual_seed(seed)
        while True:
            rows = torch.randint(len(ids), (size,), generator=generator, device=device)
            yield ids[rows], labels[rows], moved(normalized(images[image[rows]]), generator)


def encode_prompt(tokenizer: PreTrainedTokenizerFast, question: str, place: tuple[int, int]) -> list[int]:
    """A question as the model is asked it: image, question, the request for a short answer."""

    def tokenize(text: str, special: bool) -> list[int]:
        return tokenizer(text, add_special_tokens=special)["input_ids"]

    return prompt_ids(tokenize, TURN.format(question + SHORT_ANSWER), *place)


def normalized(images: Tensor) -> Tensor:
    """uint8 ``[b, 3, h, w]`` to float32 with the image processor's mean and deviation."""
    mean, deviation = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (MEAN, DEVIATION))
    return (images.float() / 255 - mean) / deviation


def moved(pixels: Tensor, generator: torch.Generator, reach: float = 0.2) -> Tensor:
    """Each image mirrored or not on both axes, moved by up to ``reach`` of half its size and resized as much."""
    count, device = len(pixels), pixels.device
    draws = torch.rand(count, 3, 2, generator=generator, device=device)
    mirror = torch.where(draws[:, 0] < 0.5, -1.0, 1.0)
    size = 1 + reach * (2 * draws[:, 1, :1] - 1)
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, :, :2] = torch.diag_embed(mirror * size)
    theta[:, :, 2] = reach * (2 * draws[:, 2] - 1)
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def answer_loss(model: Any, ids: Tensor, labels: Tensor, pixels: Tensor) -> Tensor:
    """Mean cross-entropy (nats per token) of the answers."""
    with torch.autocast(ids.device.type, dtype=torch.bfloat16):
        logits = model(input_ids=ids[:, :-1], pixel_values=pixels, use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORED)


def train(
    model: Any, tokens: np.ndarray, questions: Questions, size: int, schedule: Schedule, device: torch.device
) -> dict[str, Any]:
    """Train on passages of the stream and on ``size`` questions a step, the two losses added."""
    passages = batches(tokens, schedule, device)
    asked = questions.batches(size, schedule.seed, device)

    def loss_of_next() -> Tensor:
        return text_loss(model, next(passages)) + answer_loss(model, *next(asked))

    return optimize(model, loss_of_next, schedule, device)


def accuracy(model: Any, questions: Questions, stop: int, device: torch.device, batch: int = 256) -> float:
    """Share of questions whose greedy answer is exactly the right one."""
    by_length: dict[int, list[int]] = {}
    for index, prompt in enumerate(questions.prompts):
        by_length.setdefault(len(prompt), []).append(index)
    right = 0
    for length, group in by_length.items():
        for rows in torch.tensor(group).split(batch):
            pixels = normalized(questions.images[questions.image[rows]].to(device))
            ids, wanted = questions.ids[rows, :length].to(device), questions.labels[rows, length:]
            wanted = wanted.masked_fill(wanted == IGNORED, stop).to(device)
            found = greedy(model, ids, pixels.to(next(model.parameters()).dtype), [stop], wanted.shape[1])
            found = F.pad(found, (0, wanted.shape[1] - found.shape[1]), value=stop)
            right += int((found == wanted).all(1).sum())
    return right / len(questions.prompts)


def save(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model under the hub's names, its tokenizer with a chat template, and its image processor."""
    tokenizer.chat_template = CHAT_TEMPLATE
    config: Any = (
        model.settings["vision_tower_cfg"] if isinstance(model, Vila) else model.config.vision_config.to_dict()
    )
    side = config["image_size"]
    sizes = {"size": {"height": side, "width": side}, "do_center_crop": False}
    images = CLIPImageProcessor(**sizes, image_mean=MEAN, image_std=DEVIATION)
    if isinstance(model, Vila):
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder / "llm")
        images.save_pretrained(folder / "vision_tower")
        return
    from transformers import LlavaProcessor

    model.save_pretrained(folder)
    under_vision_model(folder / "model.safetensors", "vision_tower.")
    LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=config["patch_size"],
        vision_feature_select_strategy="default",
        image_token=IMAGE,
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
