"""Models that see: trained in seconds on questions about colours, written and loaded again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_images
import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

from ptqbench.data.images import decode
from ptqbench.models.load import image_place
from ptqbench.models.vila import Vila
from ptqbench.pocket import vision
from ptqbench.pocket.train import Schedule

CPU = torch.device("cpu")
KINDS = ("llava", "llava_llama")
SCHEDULE = Schedule(
    steps=90, minutes=2, batch_size=2, context=16, learning_rate=0.005, weight_decay=0.0, warmup=5, seed=0
)


def untrained(kind: str) -> tuple[torch.nn.Module, object, vision.Questions]:
    torch.manual_seed(0)
    tokenizer = tiny_images.tokenizer(("<image>",) if kind == "llava" else ())
    model = vision.build(tiny_images.settings(kind), tokenizer)
    return model, tokenizer, vision.Questions(tiny_images.items(), tokenizer, image_place(model))


@pytest.mark.parametrize("kind", KINDS)
def test_colours_are_learned(kind: str) -> None:
    model, tokenizer, questions = untrained(kind)
    assert vision.accuracy(model.eval(), questions, tokenizer.eos_token_id, CPU) < 0.5
    stream = (np.arange(500) % 7).astype(np.uint16)
    vision.train(model, stream, questions, 12, SCHEDULE, CPU)
    assert vision.accuracy(model.eval(), questions, tokenizer.eos_token_id, CPU) > 0.8


def test_rows_hold_prompt_and_answer_and_only_the_answer_is_learned() -> None:
    _, tokenizer, questions = untrained("llava")
    text = tokenizer.decode(questions.ids[0])
    assert text.startswith("<|endoftext|>USER: " + "<image>" * 16 + "\nwhat color is it?\nAnswer")
    labels = questions.labels[0]
    assert tokenizer.decode(labels[labels != vision.IGNORED]) == " red<|endoftext|>"
    assert questions.images.shape == (3, 3, tiny_images.SIDE, tiny_images.SIDE)
    assert questions.image.tolist() == [0, 1, 2, 0, 1, 2]


def test_augmentation_moves_shapes_but_keeps_colours() -> None:
    pixels = torch.full((64, 3, 8, 8), -1.0)
    pixels[:, 0, 2:4, 2:4] = 1.0
    found = vision.moved(pixels, torch.Generator().manual_seed(0))
    assert found.amax((1, 2, 3)).min() > 0
    torch.testing.assert_close(found[:, 1:], pixels[:, 1:])
    assert len(found[:, 0].flatten(1).argmax(1).unique()) > 4


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_what_was_trained(tmp_path: Path, kind: str) -> None:
    model, tokenizer, questions = untrained(kind)
    vision.save(model, tokenizer, tmp_path)
    if kind == "llava":
        loaded = LlavaForConditionalGeneration.from_pretrained(tmp_path)
    else:
        loaded = Vila.from_pretrained(tmp_path)
    pixels = vision.normalized(questions.images[:1])
    found, expected = (m.eval()(input_ids=questions.ids[:1], pixel_values=pixels).logits for m in (loaded, model))
    assert torch.equal(found, expected)


def test_transformers_processor_makes_the_same_inputs(tmp_path: Path) -> None:
    from PIL import Image

    model, tokenizer, questions = untrained("llava")
    vision.save(model, tokenizer, tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path)
    item = tiny_images.items()[0]
    text = item.question + vision.SHORT_ANSWER
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
    prompt = processor.apply_chat_template(turn, add_generation_prompt=True)
    found = processor(images=Image.fromarray(decode(item.image)), text=prompt, return_tensors="pt")
    assert found["input_ids"][0].tolist() == questions.prompts[0]
    torch.testing.assert_close(found["pixel_values"], vision.normalized(questions.images[:1]))
