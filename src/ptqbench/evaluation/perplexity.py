"""Token perplexity by the GPTQ protocol (arXiv 2210.17323, section 4)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptqbench.data.corpora import read_corpus
from ptqbench.errors import UserError, about
from ptqbench.progress import progress_bar

REQUIRED = ("corpora",)
OPTIONAL = ("window", "limit", "batch_size", "keep_logprobs")
DIGITS = 5  # of a log-probability that is kept
LONGEST_WINDOW = 2048


def longest(suite: dict[str, Any], context: int) -> int:
    """Tokens of a window, for a model of ``context`` positions."""
    return suite.get("window") or min(context, LONGEST_WINDOW)


def run(backend: Any, suite: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows ``task, metric, value, stderr, n, window, items`` for every corpus: perplexity and bits per byte.

    They are means over windows of ``window`` tokens.

    ``items``, on perplexity's row, holds each window's mean loss in nats, for comparisons window by window. With
    ``keep_logprobs`` that row also has ``logprobs``, a list of nats for each window's tokens but the first: two
    backends on the same weights can then be compared token by token.
    """
    rows = []
    for name in suite["corpora"]:
        cut = cut_corpus(backend, suite, name)
        parts = []
        with progress_bar(f"perplexity of {name}: window", total=len(cut.windows)) as bar:
            for losses in backend.token_losses(cut.windows, suite.get("batch_size", 8)):
                parts.append(losses)
                bar(len(losses))
        tokenwise = torch.cat(parts)
        losses = tokenwise.mean(1)
        value, stderr = perplexity(losses)
        bits = [bits_per_byte(nats, cut.tokens, cut.bytes) for nats in (losses.mean().item(), error(losses))]
        common = {"task": name, "n": len(losses), "window": cut.windows.shape[1], "documents": cut.documents}
        kept: dict[str, Any] = {"items": losses.tolist()}
        if suite.get("keep_logprobs"):
            kept["logprobs"] = (-tokenwise).round(decimals=DIGITS).tolist()
        rows.append({**common, "metric": "perplexity", "value": value, "stderr": stderr, **kept})
        rows.append({**common, "metric": "bits_per_byte", "value": bits[0], "stderr": bits[1]})
    return rows


class Cut(NamedTuple):
    """The windows ``[n, length]`` of a corpus that a suite asks for, and the tokens, bytes and documents of it all."""

    windows: Tensor
    tokens: int
    bytes: int
    documents: int


def cut_corpus(backend: Any, suite: dict[str, Any], name: str) -> Cut:
    """Read a corpus of a suite as the backend's tokenizer sees it."""
    corpus = suite["corpora"][name]
    with about(f"suites.{suite['name']}.corpora.{name} is '{corpus}'"):
        special = (backend.tokenizer.bos_token, backend.tokenizer.eos_token)
        read = read_corpus(corpus, "evaluation", suite.get("revisions", {}).get(corpus), special)
        text = read.stream
        tokens = torch.tensor(backend.tokenize(text))
        cut = windows(tokens, longest(suite, backend.context))[: read.windows][: suite.get("limit")]
    return Cut(cut, len(tokens), len(text.encode()), len(read.documents))


def windows(tokens: Tensor, length: int) -> Tensor:
    """Cut a stream ``[n]`` into its ``n // length`` non-overlapping windows ``[n // length, length]``.

    The tail is dropped, as in the reference; no window gets a BOS of its own.
    Raises :class:`UserError` for a text shorter than one.
    """
    count = len(tokens) // length
    if count == 0:
        raise UserError(f"the text has {len(tokens)} tokens, fewer than one window of {length}: give a longer text")
    return tokens[: count * length].view(count, length)


@torch.no_grad()
def token_losses(model: nn.Module, cut: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Yield, per batch, the float64 losses ``[b, length - 1]`` in nats of each window's tokens but the first."""
    device = next(model.parameters()).device
    for batch in cut.split(batch_size):
        batch = batch.to(device)
        logits = model(input_ids=batch, use_cache=False).logits
        pairs = zip(logits, batch, strict=True)  # one window after another: no second copy of all logits
        losses = [F.cross_entropy(row[:-1].float(), ids[1:], reduction="none") for row, ids in pairs]
        del logits, pairs  # before the next batch's
        yield torch.stack(losses).double().cpu()


def perplexity(losses: Tensor) -> tuple[float, float]:
    """Perplexity of window losses ``[n]`` and its standard error (delta method over windows).

    A mean loss beyond what a float can hold (709 nats) is an infinite perplexity, of which nobody knows the error.
    """
    value = losses.mean().exp().item()
    return value, value * error(losses) if math.isfinite(value) else math.nan


def error(losses: Tensor) -> float:
    """Standard error of the mean of window losses ``[n]``, in nats; NaN for a single window."""
    return losses.std().item() / math.sqrt(len(losses)) if len(losses) > 1 else math.nan


def bits_per_byte(mean_loss: float, n_tokens: int, n_bytes: int) -> float:
    """Mean loss in nats per token as bits per byte of the text that the tokens encode."""
    return mean_loss * n_tokens / n_bytes / math.log(2)
