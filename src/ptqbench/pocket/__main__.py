"""Train one of the embedded models from text: ``python -m ptqbench.pocket --recipe R --text F… --out DIR``."""

from __future__ import annotations

import argparse
import platform
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from ptqbench.data.images import SHORT_ANSWER, TURN, read_items
from ptqbench.evaluation.perplexity import bits_per_byte, token_losses, windows
from ptqbench.methods.training.scan import fast_mamba
from ptqbench.models import deepseek  # noqa: F401 (registers its model class)
from ptqbench.models.load import image_place
from ptqbench.pocket import vision
from ptqbench.pocket.balance import balanced
from ptqbench.pocket.card import write_card
from ptqbench.pocket.corpus import encode, load_documents, train_tokenizer
from ptqbench.pocket.train import Schedule, train


def main(argv: list[str] | None = None) -> None:
    args = _arguments(argv)
    recipe = yaml.safe_load(args.recipe.read_text())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    documents = load_documents(args.text, seed=recipe["seed"], **recipe["data"])
    context = recipe["training"]["context"]
    items = read_items(args.images) if args.images else []
    if args.tokenizer:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(args.tokenizer)
    else:
        sample = documents[: recipe["tokenizer"]["documents"]]
        sample += [f"{TURN.format(item.question + SHORT_ANSWER)} {item.answers[0]}" for item in items]
        special = recipe["tokenizer"].get("special", [])
        tokenizer = train_tokenizer(sample, recipe["tokenizer"]["vocab_size"], context, special)
    stream = encode(documents, tokenizer)
    print(f"{len(documents)} documents, {len(stream)} tokens", flush=True)

    model: Any
    torch.manual_seed(recipe["seed"])
    schedule = Schedule(seed=recipe["seed"], **recipe["training"])
    if items:
        model = vision.build(recipe["model"], tokenizer)
        questions = vision.Questions(items, tokenizer, image_place(model))
        outcome = vision.train(model, stream, questions, recipe["images"]["batch_size"], schedule, device)
    else:
        special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), tokenizer.bos_token_id)
        config = AutoConfig.for_model(**recipe["model"], vocab_size=len(tokenizer), **special)
        model = AutoModelForCausalLM.from_config(config)
        mamba = config.model_type == "mamba"
        with fast_mamba() if mamba else balanced(model, recipe.get("balance", 0.0)):
            outcome = train(model, stream, schedule, device, compiles=not mamba)

    model.eval()
    for parameter in model.parameters():  # and no buffer: rotary frequencies are float32 after loading, too
        parameter.data = parameter.data.to(torch.bfloat16)
    scores = {path.name: score(model, tokenizer, path, context) for path in args.evaluate}
    accuracies = {}
    if args.test_images:
        asked = vision.Questions(read_items(args.test_images)[: args.limit], tokenizer, image_place(model))
        accuracies[args.test_images.name] = vision.accuracy(model, asked, tokenizer.eos_token_id, device)
    if items:
        vision.save(model, tokenizer, args.out)
    else:
        model.save_pretrained(args.out)
        tokenizer.save_pretrained(args.out)
    where = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "CPU"
    outcome |= {"device": where, "torch": torch.__version__, "stream": len(stream)}
    files = [path.name for path in [*args.text, args.images] if path]
    write_card(args.out, recipe, files, outcome, scores, accuracies)
    print(scores, accuracies, outcome, flush=True)


def score(model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, path: Path, context: int) -> float:
    """Bits per byte of a plain text file, in non-overlapping windows of the context."""
    text = path.read_text(encoding="utf-8")
    tokens = torch.tensor(tokenizer(text, verbose=False)["input_ids"])
    losses = torch.cat(list(token_losses(model, windows(tokens, context), batch_size=16))).mean(1)
    return bits_per_byte(losses.mean().item(), len(tokens), len(text.encode()))


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ptqbench.pocket", description=__doc__)
    parser.add_argument("--recipe", type=Path, required=True, help="YAML: model, tokenizer, data, training, seed")
    parser.add_argument("--text", type=Path, nargs="+", required=True, help="training text (.txt or .txt.zst)")
    parser.add_argument("--evaluate", type=Path, nargs="*", default=[], help="held-out text, scored in bits per byte")
    parser.add_argument("--images", type=Path, help="questions about images to train a tower on (.parquet)")
    parser.add_argument("--test-images", type=Path, help="held-out questions, scored by exact greedy answers")
    parser.add_argument("--limit", type=int, help="so many held-out questions at most")
    parser.add_argument("--tokenizer", type=Path, help="reuse this tokenizer folder instead of training one")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, tokenizer and model card")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
