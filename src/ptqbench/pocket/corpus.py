"""Text files to documents, a byte-level BPE tokenizer, and one long token stream."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SEPARATOR = "<|endoftext|>"

# WikiText's spelling of running text: tokens apart, inner hyphens and number marks between @.
_SPELLING = (
    (re.compile(r"(?<=\w)-(?=\w)"), " @-@ "),
    (re.compile(r"(?<=\d),(?=\d)"), " @\0@ "),  # held back, so that the next line but one spares this comma
    (re.compile(r"(?<=\d)\.(?=\d)"), " @.@ "),
    (re.compile(r"([,;:!?()\[\]\"–—])"), r" \1 "),
    (re.compile(r"(?<=\w)('s|'t|'re|'ve|'ll|'d|')(?=[ .]|$)"), r" \1"),
    (re.compile(r"\.(?= *$| +\" | +[A-Z])"), " ."),
    (re.compile(r"\0"), ","),
    (re.compile(r" +"), " "),
)


def read_documents(path: Path) -> Iterator[str]:
    """Yield the documents of a text file (plain or ``.zst``), split at ``<|endoftext|>`` lines."""
    compression = "zstd" if path.suffix == ".zst" else None
    with pa.OSFile(str(path)) as raw, pa.input_stream(raw, compression=compression) as stream:
        text = stream.read().decode("utf-8")
    for document in text.split(SEPARATOR):
        if document := document.strip():
            yield document


def wikitext_style(document: str) -> str:
    """Rewrite a plain article in WikiText's raw spelling (``@-@``, ``= Title =``, spaced marks)."""
    title, _, body = document.partition("\n")
    lines = [" ", f" = {_respell(title)} = ", " "]
    for line in filter(None, body.split("\n")):
        if len(line) < 60 and line.endswith("."):
            lines += [" ", f" = = {_respell(line[:-1])} = = ", " "]
        else:
            lines.append(f" {_respell(line)} ")
    return "\n".join(lines)


def _respell(line: str) -> str:
    for pattern, replacement in _SPELLING:
        line = pattern.sub(replacement, line)
    return line.strip()


def load_documents(paths: Sequence[Path], wikitext: str, share: float, seed: int) -> list[str]:
    """All documents in a seeded order; a ``share`` of those in files matching ``wikitext`` restyled."""
    rng = random.Random(seed)
    documents = []
    for path in paths:
        for document in read_documents(path):
            restyle = fnmatch(path.name, wikitext) and rng.random() < share
            documents.append(wikitext_style(document) if restyle else document)
    rng.shuffle(documents)
    return documents


def train_tokenizer(
    documents: Iterable[str], vocab_size: int, context: int, special: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """Byte-level BPE whose first special token begins each document (it is BOS and EOS alike)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[SEPARATOR, *special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    start = (SEPARATOR, tokenizer.token_to_id(SEPARATOR))
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=f"{SEPARATOR} $A", special_tokens=[start]),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SEPARATOR,
        eos_token=SEPARATOR,
        pad_token=SEPARATOR,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def encode(documents: Sequence[str], tokenizer: PreTrainedTokenizerFast, batch: int = 4096) -> np.ndarray:
    """The documents as one uint16 stream, each beginning with BOS."""
    backend = tokenizer.backend_tokenizer
    parts = []
    for start in range(0, len(documents), batch):
        for encoding in backend.encode_batch_fast(documents[start : start + batch]):
            parts.append(np.asarray(encoding.ids, dtype=np.uint16))
    return np.concatenate(parts)
