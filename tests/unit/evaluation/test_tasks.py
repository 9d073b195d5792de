"""lm-eval tasks from local files."""

from __future__ import annotations

import json
import lzma
import math
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
import yaml
from clone import REPOSITORY
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager
from torch.nn import functional as F

from ptqbench.errors import UserError
from ptqbench.evaluation.backends.transformers import Backend
from ptqbench.evaluation.tasks import of_the_hub, rows, run


def test_rows_are_long() -> None:
    found = {"n-samples": {"t": {"original": 100, "effective": 20}}}
    metrics = {
        "alias": "t",
        "acc,none": 0.5,
        "acc_stderr,none": 0.1,
        "exact_match,strict": 1,
        "exact_match_stderr,strict": "N/A",
        "sample_len": 20,
    }
    acc, match = rows("t", metrics, found)
    assert acc == {"task": "t", "metric": "acc", "value": 0.5, "stderr": 0.1, "n": 20}
    assert (match["metric"], match["value"]) == ("exact_match[strict]", 1.0)
    assert math.isnan(match["stderr"])


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Path, list[dict[str, str]]]:
    """A task of minimal pairs."""
    words = [(a, b) for a in tiny.WORDS for b in ("cat", "dog") if a != b]
    made = [{"good": f"The {a} sees the {b}.", "bad": f"The {b} sees the {a}."} for a, b in words]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, made)))
    task = {
        "task": "local_pairs",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"train": str(tmp_path / "pairs.jsonl")}},
        "output_type": "multiple_choice",
        "validation_split": "train",
        "doc_to_text": "",
        "doc_to_target": 0,
        "doc_to_choice": "{{[good, bad]}}",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    (tmp_path / "pairs.yaml").write_text(yaml.safe_dump(task))
    return tmp_path, made


def test_accuracy_is_that_of_the_sums_of_log_likelihoods(
    tiny_model: Path, pairs: tuple[Path, list[dict[str, str]]]
) -> None:
    folder, made = pairs
    backend = Backend(tiny_model, "cpu", remote=False)

    def likelihood(text: str) -> float:
        ids = torch.tensor([backend.tokenize(f" {text}")])  # lm-eval puts its delimiter, a space, before a choice
        with torch.no_grad():
            scores = F.log_softmax(backend.model(input_ids=ids).logits[0, :-1], -1)
        return scores.gather(1, ids[0, 1:, None]).sum().item()

    right = [likelihood(row["good"]) > likelihood(row["bad"]) for row in made]
    assert 0 < sum(right) < len(made), "a test that tells nothing"
    suite = {"name": "s", "path": str(folder), "tasks": ["local_pairs"]}
    found = {row["metric"]: row for row in run(backend, suite)}
    assert found["acc"]["value"] == pytest.approx(sum(right) / len(made))
    assert found["acc"]["n"] == len(made)
    assert found["acc"]["items"] == [float(score) for score in right]
    share = sum(right) / len(made)
    assert found["acc"]["stderr"] == pytest.approx(math.sqrt(share * (1 - share) / (len(made) - 1)))
    limited = {row["metric"]: row for row in run(backend, {**suite, "limit": 5})}
    assert limited["acc"]["n"] == 5
    assert limited["acc"]["value"] == pytest.approx(sum(right[:5]) / 5)


class Guess(LM):
    """Answers at random; lm-eval's own dummy asks the hub for a tokenizer."""

    def loglikelihood(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
        return [(-random.random(), False) for _ in requests]

    loglikelihood_rolling = generate_until = None


LEAVES = {"one": 3, "two": 10, "three": 6, "four": 7}


def write_groups(folder: Path, by_size: bool) -> None:
    """Four tasks in nested groups, of which one aggregates nothing, and one task under a tag; two filters."""
    for name, size in LEAVES.items():
        rows = [{"q": f"{name}{i}", "c": ["x", "y"], "g": i % 2} for i in range(size)]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(folder / f"{name}.jsonl")}},
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "{{q}}",
            "doc_to_choice": "{{c}}",
            "doc_to_target": "{{g}}",
            "metric_list": [{"metric": name, "aggregation": "mean"} for name in ("acc", "acc_norm")],
            **({"tag": "tagged"} if name == "four" else {}),
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task))
    rule = [{"metric": "acc", "weight_by_size": by_size}]
    groups = {
        "inner": {"task": ["one", "two"], "aggregate_metric_list": rule},
        "outer": {"task": ["inner", "three"], "aggregate_metric_list": rule},
        "loose": {"task": ["inner", "three"]},
    }
    for name, group in groups.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"group": name, **group}))


@pytest.mark.parametrize(
    ("tasks", "asked"),
    [
        (["outer"], {"outer"}),
        (["inner", "three"], {"inner", "three"}),
        (["loose", "tagged"], {"inner", "three", "four"}),
        (["one", "four"], {"one", "four"}),
    ],
)
@pytest.mark.parametrize("by_size", [True, False])
def test_groups_say_what_they_are_the_mean_of(tmp_path: Path, tasks: list[str], asked: set[str], by_size: bool) -> None:
    """Against the documents' own scores: what was asked is asked, and a group is the mean that its weights say."""
    write_groups(tmp_path, by_size)
    backend = SimpleNamespace(harness=lambda *_: Guess(), context=64)
    random.seed(0)
    found = run(backend, {"name": "s", "path": str(tmp_path), "tasks": tasks})
    assert {row["task"] for row in found if row["asked"]} == asked
    items = {row["task"]: row["items"] for row in found if row["metric"] == "acc" and "leaves" not in row}
    members = {"inner": ["one", "two"], "outer": ["one", "two", "three"]}
    for row in (row for row in found if "leaves" in row):
        own = members[row["task"]]
        assert list(row["leaves"]) == own
        pooled = [score for leaf in own for score in items[leaf]]
        means = [sum(items[leaf]) / len(items[leaf]) for leaf in own]
        assert row["value"] == pytest.approx(sum(pooled) / len(pooled) if by_size else sum(means) / len(means))
        weighed = sum(row["leaves"][leaf] * mean for leaf, mean in zip(own, means, strict=True))
        assert weighed == pytest.approx(row["value"])
        assert row["n"] == len(pooled)


def test_a_task_beside_its_group_is_refused_in_one_line(tmp_path: Path) -> None:
    write_groups(tmp_path, True)
    with pytest.raises(UserError, match=r"^suites\.s\.tasks asks for a task twice .* make two suites$"):
        run(None, {"name": "s", "path": str(tmp_path), "tasks": ["inner", "two"]})


def test_an_unknown_task_is_named_with_its_near_match(
    pairs: tuple[Path, list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = pairs
    looked = []

    def manager(include_path: str, include_defaults: bool = True) -> TaskManager:
        looked.append(include_defaults)
        return TaskManager(include_path=include_path, include_defaults=False)  # the harness's own take seconds

    monkeypatch.setattr("lm_eval.tasks.TaskManager", manager)
    with pytest.raises(UserError, match=r"^suites\.s\.tasks names 'local_pair': did you mean 'local_pairs'\?$"):
        run(None, {"name": "s", "path": str(folder), "tasks": ["local_pair"]})
    assert looked == [False, True]
    with pytest.raises(UserError, match="lm-eval has no such task; put its YAML into the suite's path"):
        run(None, {"name": "s", "path": str(folder), "tasks": ["zzz"]})


def test_local_zero_shot_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole data, four choices where there are four, answers spread over them."""
    monkeypatch.chdir(REPOSITORY)
    path = "resources/tasks/zero-shot"
    names = ["local_hellaswag", "local_piqa", "local_mmlu"]
    model = Path("resources/models/pocket-llama")
    found = run(Backend(model, "cpu", remote=False), {"name": "s", "path": path, "tasks": names, "limit": 2})
    assert {row["task"]: row["n"] for row in found} == dict.fromkeys(names, 2)
    expected = {"hellaswag": (1400, 4), "piqa": (1838, 2), "mmlu": (1531, 4)}
    for name, (n, choices) in expected.items():
        lines = lzma.decompress(Path(f"{path}/{name}.jsonl.xz").read_bytes()).decode().removesuffix("\n").split("\n")
        answers = [row["answer" if name == "mmlu" else "label"] for row in map(json.loads, lines)]
        assert len(answers) == n
        shares = [answers.count(choice) / n for choice in range(choices)]
        assert sum(shares) == 1
        assert min(shares) > 0.8 / choices


def test_presets_name_tasks_that_lm_eval_has() -> None:
    presets = [yaml.safe_load(file.read_text()) for file in (REPOSITORY / "workflow/presets").glob("*.yaml")]
    suites = [suite for preset in presets for suite in preset["suites"].values() if suite["kind"] == "tasks"]
    named = {task for suite in suites if "path" not in suite for task in suite["tasks"]}
    assert "ceval-valid" in named
    assert named <= set(TaskManager().all_tasks)


@pytest.mark.parametrize("named", ["bos_token_id", "eos_token_id", None])
def test_a_tokenizer_without_special_tokens(pairs: tuple[Path, list[dict[str, str]]], named: str | None) -> None:
    """Contexts are empty: the config's own token stands for it, or one line says that there is none."""
    folder = tiny.write_model(pairs[0] / "model")
    whole = Backend(folder, "cpu", remote=False)
    expected = run(whole, {"name": "s", "path": str(pairs[0]), "tasks": ["local_pairs"]})
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    first = whole.tokenizer.bos_token_id
    bare = {key: value for key, value in settings.items() if key not in ("bos_token", "eos_token", "pad_token")}
    (folder / "tokenizer_config.json").write_text(json.dumps(bare))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    config = json.loads((folder / "config.json").read_text()) | {"bos_token_id": None, "eos_token_id": None}
    (folder / "config.json").write_text(json.dumps(config | ({named: first} if named else {})))
    backend = Backend(folder, "cpu", remote=False)
    assert backend.tokenizer.bos_token_id is None
    suite = {"name": "s", "path": str(pairs[0]), "tasks": ["local_pairs"], "batch_size": 3}
    if named is None:
        with pytest.raises(UserError, match="a token that begins or ends a text, which tasks need: add bos_token"):
            run(backend, suite)
        return
    assert run(backend, suite)[0]["value"] == pytest.approx(expected[0]["value"], abs=0.02)


def test_the_commit_of_a_set_of_the_hub_is_recorded() -> None:
    url = f"hf://datasets/org/set@{'a' * 40}/test.parquet"
    info = SimpleNamespace(download_checksums={url: {}, f"{url}.2": {}})
    split = SimpleNamespace(info=info, _fingerprint="f1")
    config = SimpleNamespace(dataset_path="org/set", dataset_name="main")
    found = of_the_hub(SimpleNamespace(config=config, dataset={"test": split}))
    assert found == {"path": "org/set", "name": "main", "commits": ["a" * 40], "splits": {"test": "f1"}}
    config.dataset_path = "json"
    assert of_the_hub(SimpleNamespace(config=config, dataset={"test": split})) is None
