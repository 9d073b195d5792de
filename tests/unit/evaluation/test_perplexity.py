"""Token perplexity: windows, losses, errors and bits per byte."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
from torch import Tensor, nn
from transformers import AutoTokenizer

from ptqbench.errors import UserError
from ptqbench.evaluation.perplexity import bits_per_byte, perplexity, run, token_losses, windows


class Uniform(nn.Module):
    """Every next token is as likely as any other."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary, self.weight = vocabulary, nn.Parameter(torch.zeros(1))

    def forward(self, input_ids: Tensor, use_cache: bool) -> SimpleNamespace:
        return SimpleNamespace(logits=self.weight.expand(*input_ids.shape, self.vocabulary))


class Backend:
    """A model and a tokenizer of a token a byte."""

    def __init__(self, model: nn.Module, context: int) -> None:
        self.model, self.context = model, context
        self.tokenizer = SimpleNamespace(bos_token=None, eos_token="</s>")
        self.seen: list[Tensor] = []

    def tokenize(self, text: str) -> list[int]:
        return list(text.encode())

    def token_losses(self, cut: Tensor, batch_size: int) -> Iterator[Tensor]:
        self.seen.append(cut)
        return token_losses(self.model, cut, batch_size)


@pytest.mark.parametrize(("n", "length", "count"), [(100, 10, 10), (109, 10, 10), (10, 10, 1), (19, 10, 1)])
def test_windows_do_not_overlap_and_the_tail_is_dropped(n: int, length: int, count: int) -> None:
    cut = windows(torch.arange(n), length)
    assert cut.shape == (count, length)
    assert torch.equal(cut.flatten(), torch.arange(count * length))


def test_less_than_a_window() -> None:
    with pytest.raises(UserError, match="has 9 tokens, fewer than one window of 10"):
        windows(torch.arange(9), 10)


@pytest.mark.parametrize("vocabulary", [2, 50, 4096])
def test_a_uniform_model_has_the_perplexity_of_its_vocabulary(vocabulary: int) -> None:
    cut = torch.randint(0, vocabulary, (7, 16))
    losses = torch.cat(list(token_losses(Uniform(vocabulary), cut, batch_size=3)))
    assert losses.dtype == torch.float64
    assert losses.shape == (7, 15)
    value, stderr = perplexity(losses.mean(1))
    assert value == pytest.approx(vocabulary, rel=1e-6)
    assert stderr == pytest.approx(0, abs=1e-3)


def test_losses_are_the_models_own() -> None:
    model = tiny.model(dtype=torch.float32)
    cut = torch.randint(0, tiny.VOCABULARY, (5, tiny.CONTEXT), generator=torch.Generator().manual_seed(0))
    losses = torch.cat(list(token_losses(model, cut, batch_size=2)))
    with torch.no_grad():
        expected = [model(input_ids=row[None], labels=row[None]).loss.item() for row in cut]
    assert losses.mean(1).tolist() == pytest.approx(expected, rel=1e-5)


def test_batches_do_not_matter() -> None:
    model = tiny.model(dtype=torch.float32)
    cut = torch.randint(0, tiny.VOCABULARY, (6, 32), generator=torch.Generator().manual_seed(0))
    one, all_at_once = (torch.cat(list(token_losses(model, cut, size))) for size in (1, 6))
    torch.testing.assert_close(one, all_at_once, rtol=1e-5, atol=1e-5)


def test_the_standard_error_is_that_of_repeated_measurements() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(4000, 64, generator=generator, dtype=torch.float64) * 0.3 + 2
    values, errors = zip(*(perplexity(losses) for losses in draws), strict=True)
    assert sum(errors) / len(errors) == pytest.approx(torch.tensor(values).std().item(), rel=0.05)


def test_one_window_has_no_standard_error() -> None:
    value, stderr = perplexity(torch.tensor([math.log(7)], dtype=torch.float64))
    assert value == pytest.approx(7)
    assert math.isnan(stderr)


class Loud(nn.Module):
    """A model that diverged: the token that comes next is the one least likely, or no number comes out."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit, self.weight = logit, nn.Parameter(torch.zeros(1))

    def forward(self, input_ids: Tensor, use_cache: bool) -> SimpleNamespace:
        logits = torch.zeros(*input_ids.shape, 256)
        logits[..., ord("z")] = self.logit
        return SimpleNamespace(logits=logits)


@pytest.mark.parametrize(("logit", "value"), [(100.0, math.exp(100)), (709.0, math.exp(709)), (1e4, math.inf)])
@pytest.mark.parametrize("limit", [1, 3])
def test_a_loss_beyond_what_a_float_holds_is_an_infinite_perplexity(
    tmp_path: Path, logit: float, value: float, limit: int
) -> None:
    first, bits = run(Backend(Loud(logit), context=16), suite(tmp_path, limit=limit))[:2]
    assert first["value"] == pytest.approx(value, rel=1e-9)
    assert first["items"] == pytest.approx([logit] * limit)
    assert math.isnan(first["stderr"]) is (limit == 1 or math.isinf(value))
    assert bits["value"] == pytest.approx(logit / math.log(2) * 100 / 100)


def test_no_number_is_told_as_none(tmp_path: Path) -> None:
    rows = run(Backend(Loud(math.nan), context=16), suite(tmp_path))
    assert all(math.isnan(row["value"]) and math.isnan(row["stderr"]) for row in rows)


def test_a_certain_model_has_no_loss() -> None:
    assert perplexity(torch.zeros(3, dtype=torch.float64)) == (1, 0)


def test_documents_of_a_text_are_parted_where_the_tokenizer_ends_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a" * 40 + "\n</s>\n" + "b" * 40 + "<|endoftext|>")
    backend = Backend(Uniform(256), context=16)
    rows = run(backend, {"name": "s", "corpora": {"first": str(tmp_path / "a.txt")}})
    assert rows[0]["documents"] == 2
    assert bytes(backend.seen[0].flatten().tolist()) == (b"a" * 40 + b"\n\n" + b"b" * 40)[:80]


def test_bits_per_byte() -> None:
    assert bits_per_byte(math.log(256), n_tokens=100, n_bytes=100) == pytest.approx(8)
    assert bits_per_byte(math.log(256), n_tokens=100, n_bytes=400) == pytest.approx(2)


def suite(tmp_path: Path, **options: int) -> dict:
    (tmp_path / "a.txt").write_text("x" * 100)
    (tmp_path / "b.txt").write_text("y" * 60)
    corpora = {"first": str(tmp_path / "a.txt"), "second": str(tmp_path / "b.txt")}
    return {"name": "s", "kind": "perplexity", "corpora": corpora, **options}


def test_a_suite_has_two_rows_for_each_corpus(tmp_path: Path) -> None:
    rows = run(Backend(Uniform(256), context=16), suite(tmp_path))
    assert [(row["task"], row["metric"], row["n"]) for row in rows] == [
        ("first", "perplexity", 6),
        ("first", "bits_per_byte", 6),
        ("second", "perplexity", 3),
        ("second", "bits_per_byte", 3),
    ]
    assert [row["value"] for row in rows] == pytest.approx([256, 8, 256, 8], rel=1e-6)
    assert rows[0]["items"] == pytest.approx([math.log(256)] * 6)


def test_log_probabilities_are_kept_where_asked(tmp_path: Path) -> None:
    rows = run(Backend(Uniform(256), context=16), suite(tmp_path, keep_logprobs=True))
    assert [row["metric"] for row in rows if "logprobs" in row] == ["perplexity"] * 2
    kept = torch.tensor(rows[0]["logprobs"])
    assert kept.shape == (6, 15)
    torch.testing.assert_close(kept, torch.full((6, 15), -math.log(256)), rtol=0, atol=1e-5)
    assert math.exp(-kept.double().mean()) == pytest.approx(rows[0]["value"], rel=1e-4)


@pytest.mark.parametrize(
    ("options", "context", "shape"),
    [({}, 16, (6, 16)), ({"window": 20}, 16, (5, 20)), ({"limit": 2}, 16, (2, 16)), ({"limit": 99}, 50, (2, 50))],
)
def test_window_and_limit(tmp_path: Path, options: dict[str, int], context: int, shape: tuple[int, int]) -> None:
    backend = Backend(Uniform(256), context)
    run(backend, suite(tmp_path, **options) | {"corpora": {"first": str(tmp_path / "a.txt")}})
    assert tuple(backend.seen[0].shape) == shape


def test_a_very_long_context_is_cut_as_in_the_literature(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 5000)
    backend = Backend(Uniform(256), context=131072)
    run(backend, {"name": "s", "corpora": {"first": str(tmp_path / "a.txt")}})
    assert tuple(backend.seen[0].shape) == (2, 2048)


def test_a_short_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^suites\.s\.corpora\.first is '.*a\.txt': the text has 100 tokens"):
        run(Backend(Uniform(256), context=512), suite(tmp_path))


def test_one_bos_at_the_very_start(tiny_model: Path) -> None:
    from ptqbench.evaluation.backends.transformers import Backend as Real

    backend = Real(tiny_model, "cpu", remote=False)
    bos = AutoTokenizer.from_pretrained(tiny_model).bos_token_id
    ids = backend.tokenize("The cat sees the dog.\n\nThe dog sees the cat.")
    assert ids[0] == bos
    assert bos not in ids[1:]
    assert backend.context == tiny.CONTEXT
