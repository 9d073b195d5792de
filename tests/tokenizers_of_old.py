"""A tiny model's tokenizer in every form that checkpoints have: each writes its files into a model's folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny
from tokenizers.pre_tokenizers import ByteLevel

from ptqbench.pocket.corpus import train_tokenizer

ADDED = ("river house", " fish", "<tool>")
TEXT = "The red cat sees the river house. <tool> A fish, über 12 days\n\n<|endoftext|> eats  it: naïve — yes!"
TEMPLATE = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
SPECIAL = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
CODE = """
from .tokenization_base import Base


class Mine(Base):
    vocab_files_names = {"vocab_file": "words.lst"}

    def __init__(self, vocab_file, **kwargs):
        with open(vocab_file, encoding="utf-8") as lines:
            self.words = {line.rstrip("\\n"): number for number, line in enumerate(lines)}
        super().__init__(**kwargs)
"""
BASE = '''
from transformers import PreTrainedTokenizer

from .pieces import cut


class Base(PreTrainedTokenizer):
    """Words, and a letter at a time for others."""

    @property
    def vocab_size(self):
        return len(self.words)

    def get_vocab(self):
        return dict(self.words) | self.added_tokens_encoder

    def _tokenize(self, text):
        return cut(text, self.words)

    def _convert_token_to_id(self, token):
        return self.words.get(token, 0)

    def _convert_id_to_token(self, index):
        return list(self.words)[index]
'''
PIECES = """
def cut(text, words):
    return [part for word in text.split() for part in ([word] if word in words else word)]
"""


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")


def settings(kind: str, **others: Any) -> str:
    return json.dumps({"tokenizer_class": kind, "model_max_length": 64, **SPECIAL, **others})


def fast(folder: Path) -> None:
    """``tokenizer.json`` and its templates in a folder of their own."""
    train_tokenizer([tiny.text(4000)], 300, 64).save_pretrained(folder)
    write(folder, {"chat_template.jinja": TEMPLATE, "additional_chat_templates/tools.jinja": f"tools {TEMPLATE}"})


def gpt2(folder: Path) -> None:
    """``vocab.json``, ``merges.txt`` and ``added_tokens.json``, as before there was a ``tokenizer.json``."""
    train_tokenizer([tiny.text(4000)], 300, 64).save_pretrained(folder / "new")
    model = json.loads((folder / "new/tokenizer.json").read_text(encoding="utf-8"))["model"]
    files = {
        "vocab.json": json.dumps(model["vocab"]),
        "merges.txt": "#version: 0.2\n" + "\n".join(" ".join(merge) for merge in model["merges"]),
        "added_tokens.json": json.dumps({word: 290 + index for index, word in enumerate(ADDED)}),
        "special_tokens_map.json": json.dumps(SPECIAL),
        "tokenizer_config.json": settings("GPT2Tokenizer", chat_template=TEMPLATE),
    }
    kept = {token: index for token, index in model["vocab"].items() if index < 290}
    merges = [m for m in model["merges"] if "".join(m) in kept and all(part in kept for part in m)]
    files["vocab.json"] = json.dumps(kept)
    files["merges.txt"] = "#version: 0.2\n" + "\n".join(" ".join(merge) for merge in merges)
    write(folder, files)
    for file in (folder / "new").iterdir():
        file.unlink()
    (folder / "new").rmdir()


def bert(folder: Path) -> None:
    """``vocab.txt``."""
    letters = sorted({letter for word in tiny.WORDS for letter in word})
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *tiny.WORDS,
        *letters,
        *(f"##{letter}" for letter in letters),
    ]
    write(
        folder,
        {
            "vocab.txt": "\n".join(words),
            "added_tokens.json": json.dumps({"<tool>": 200}),
            "tokenizer_config.json": json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True}),
        },
    )


def own_code(folder: Path) -> None:
    """A class beside the weights, which imports from beside itself and names its own vocabulary."""
    words = ["?", "<|endoftext|>", *tiny.WORDS, *sorted(ByteLevel.alphabet())]
    names = {"AutoTokenizer": ["tokenization_mine.Mine", None]}
    write(
        folder,
        {
            "tokenization_mine.py": CODE,
            "tokenization_base.py": BASE,
            "pieces.py": PIECES,
            "words.lst": "\n".join(words),
            "unrelated.py": "raise SystemExit",
            "tokenizer_config.json": settings("Mine", auto_map=names),
        },
    )


def sentencepiece(folder: Path) -> None:
    """``tokenizer.model`` alone."""
    import sentencepiece as library

    (folder / "text.txt").write_text(tiny.text(4000))
    library.SentencePieceTrainer.train(
        input=str(folder / "text.txt"), model_prefix=str(folder / "tokenizer"), vocab_size=60, minloglevel=2
    )
    (folder / "text.txt").unlink()
    (folder / "tokenizer.vocab").unlink()
    write(folder, {"tokenizer_config.json": json.dumps({"tokenizer_class": "LlamaTokenizer"})})


FORMS: dict[str, Callable[[Path], None]] = {form.__name__: form for form in (fast, gpt2, bert, own_code, sentencepiece)}
