"""The hub's sets are read and sampled as the published protocols do it: streams computed from rows as the hub has them.

GPTQ's ``datautils.py`` (WikiText-2, PTB and C4 as its newer functions have them) and AWQ's ``calib_data.py`` say how.
"""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

import datasets
import numpy as np
import pytest

from ptqbench.data import hub_images, pairs
from ptqbench.data.calibration import sample
from ptqbench.data.corpora import read_corpus
from ptqbench.data.hub import CORPORA, REVISIONS, revisions
from ptqbench.errors import UserError
from ptqbench.evaluation import perplexity

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BOS = 0


def tokenize(text: str) -> list[int]:
    """A BOS, then a token for each two bytes."""
    data = text.encode()
    return [BOS, *(1 + data[at] for at in range(0, len(data), 2))]


def words(draw: random.Random, most: int) -> str:
    return " ".join("".join(draw.choices("abcdefgh", k=draw.randint(1, 9))) for _ in range(draw.randint(1, most)))


def wikitext(count: int, draw: random.Random) -> list[str]:
    """A line a row, with its newline and spaces around; empty lines are empty rows, headings have rows of their own."""
    rows = [""]
    while len(rows) < count:
        rows += [f" = {words(draw, 3)} = \n", "", f" {words(draw, 60)} . \n", ""][: draw.randint(1, 4)]
    return rows[:count]


@lru_cache
def rows_of(name: str, split: str) -> list[str]:
    count = {"wikitext2": 600, "ptb": 600, "c4": 1300, "pile": 2200}[name]
    draw = random.Random(f"{name} {split}")
    if name == "wikitext2":
        return wikitext(count, draw)
    if name == "ptb":
        return [words(draw, 30) for _ in range(count)]
    return [f"\n {words(draw, 80)}\n" if draw.random() < 0.9 else words(draw, 400) for _ in range(count)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the hub was asked for; it answers with rows of the set's own form, among other columns."""
    calls: list[dict[str, Any]] = []

    def load_dataset(path: str, name: str | None = None, **where: Any) -> datasets.Dataset:
        calls.append({"path": path, "name": name, **where})
        known = next(key for key, corpus in CORPORA.items() if corpus.dataset == path)
        column = {"ptb": "sentence"}.get(known, "text")
        texts = rows_of(known, where["split"])
        return datasets.Dataset.from_dict({"meta": list(range(len(texts))), column: texts, "url": texts[::-1]})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


class Backend:
    """Loss 1 + (a window's first token), so that it shows which windows were counted."""

    context = 2048

    class tokenizer:
        bos_token, eos_token = "<s>", "</s>"

    tokenize = staticmethod(tokenize)

    def token_losses(self, cut: Any, batch_size: int) -> Any:
        for batch in cut.split(batch_size):
            yield batch[:, 1:].double()


def expected_stream(name: str) -> list[int]:
    """The reference's evaluation tokens."""
    if name == "wikitext2":
        return tokenize("\n\n".join(rows_of(name, "test")))
    if name == "ptb":
        return tokenize(" ".join(rows_of(name, "test")))
    if name == "c4":
        return tokenize(" ".join(rows_of(name, "validation")[:1100]))
    return tokenize("\n\n".join(rows_of(name, "validation")[:2000]))  # ours: no reference evaluates on it


@pytest.mark.parametrize("name", sorted(CORPORA))
@pytest.mark.parametrize("window", [16, 64])
def test_evaluation(name: str, window: int, asked: list[dict[str, Any]]) -> None:
    suite = {"name": "s", "corpora": {name: name}, "window": window, "revisions": {name: COMMIT}, "batch_size": 64}
    (row, _) = perplexity.run(Backend(), suite)
    tokens = np.array(expected_stream(name))
    if name == "c4":
        tokens = tokens[: 256 * window]
    count = len(tokens) // window
    expected = tokens[: count * window].reshape(count, window)[:, 1:].mean(1)
    assert row["n"] == count
    assert row["items"] == pytest.approx(expected.tolist())
    assert [call["revision"] for call in asked] == [COMMIT]
    limited = perplexity.run(Backend(), suite | {"limit": 5})[0]
    assert limited["items"] == pytest.approx(expected[:5].tolist())


def reference_calibration(name: str, samples: int, length: int, seed: int) -> list[list[int]]:
    """What the papers' code draws, in their order of draws, by the process's own generator."""
    before, crops = random.getstate(), []
    if name == "pile":
        shuffled = datasets.Dataset.from_dict({"text": rows_of(name, "validation")}).shuffle(seed=seed)
        found = [ids for ids in (tokenize(text.strip()) for text in shuffled["text"]) if len(ids) <= length][:samples]
        joined = [token for ids in found for token in ids]
        return [joined[start : start + length] for start in range(0, len(joined) - length + 1, length)]
    random.seed(seed)
    texts = rows_of(name, "train")
    stream = tokenize({"wikitext2": "\n\n", "ptb": " "}.get(name, "").join(texts))
    for _ in range(samples):
        while name == "c4":
            stream = tokenize(texts[random.randint(0, len(texts) - 1)])
            if len(stream) > length:
                break
        start = random.randint(0, len(stream) - length - 1)
        crops.append(stream[start : start + length])
    random.setstate(before)
    return crops


@pytest.mark.parametrize("name", sorted(CORPORA))
@pytest.mark.parametrize(("samples", "length", "seed"), [(128, 32, 0), (128, 512, 42), (7, 2048, 3)])
def test_calibration(name: str, samples: int, length: int, seed: int, asked: list[dict[str, Any]]) -> None:
    """At every length: rows of WikiText-2 that would fill a crop by themselves are part of the stream all the same."""
    corpus = read_corpus(name, "calibration", COMMIT)
    if name in ("c4", "pile") and length == 2048:
        with pytest.raises(
            UserError, match=r"no document has more than 2048 tokens|7 documents of at most 2048 tokens"
        ):
            sample(corpus, tokenize, samples, length, seed)
        return
    tokens, rule = sample(corpus, tokenize, samples, length, seed)
    assert tokens.tolist() == reference_calibration(name, samples, length, seed)
    assert rule == CORPORA[name].crops
    assert tokens.shape == (samples if name != "pile" else len(tokens), length)
    assert asked[0]["revision"] == COMMIT


def test_a_pile_of_too_few_documents_is_one_line(asked: list[dict[str, Any]]) -> None:
    with pytest.raises(UserError, match=r"^1 documents of at most 512 tokens have \d+ together.*: set samples higher"):
        sample(read_corpus("pile", "calibration"), tokenize, 1, 512, 0)


@pytest.mark.parametrize("name", sorted(CORPORA))
def test_files_are_those_of_the_split(name: str, asked: list[dict[str, Any]]) -> None:
    """A data set of which one file is read names it for its own split: as a bare string it would be `train`."""
    for purpose in ("calibration", "evaluation"):
        read_corpus(name, purpose, COMMIT)
        assert set(asked[-1].get("data_files", {asked[-1]["split"]: ""})) == {asked[-1]["split"]}
    assert asked[0] != asked[1] or name == "pile"


def test_every_set_of_the_hub_has_a_commit_or_asks_for_one() -> None:
    assert set(REVISIONS) == {*CORPORA, *hub_images.QUESTIONS}
    assert all(commit is None or (len(commit) == 40 and int(commit, 16)) for commit in REVISIONS.values())
    assert [name for name, commit in REVISIONS.items() if commit is None] == ["ptb"], "which nobody has published"
    found = revisions(["c4", "a.txt", "ptb"], {"ptb": COMMIT, "pile": COMMIT})
    assert found == {"c4": REVISIONS["c4"], "ptb": COMMIT}


@pytest.mark.parametrize("name", sorted(hub_images.QUESTIONS))
def test_questions_are_asked_for_at_a_commit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *names, **where: calls.append((*names, where)) or [])
    assert hub_images.fetch(name, None, COMMIT) == []
    if name in pairs.TRAIN_SPLITS:
        with pytest.raises(UserError, match="fewer than samples"):
            pairs.choose(name, 3, 0, COMMIT)
    assert {call[-1]["revision"] for call in calls} == {COMMIT}
