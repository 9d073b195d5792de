"""lm-eval tasks: the harness's own, or YAML files of your own beside local data."""

from __future__ import annotations

import math
import re
from typing import Any

from ptqbench.errors import UserError, did_you_mean
from ptqbench.task_checks import BUILDERS

REQUIRED = ("tasks",)
OPTIONAL = ("path", "trust_task_code", "limit", "num_fewshot", "batch_size")
LONGEST_PROMPT = 8192  # more than any of the tasks needs; a context of 128 K would ask servers for memory in vain


def longest(suite: dict[str, Any], context: int) -> int:
    """Tokens of the longest prompt, answer included."""
    return min(context, LONGEST_PROMPT)


def run(backend: Any, suite: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows ``task, metric, value, stderr, n, asked, items`` for every task and metric.

    ``asked``: the suite's score is over this row's task, and not only through a group that has it; a group's row has
    ``leaves``, the weight of each task in its mean.
    Raises :class:`UserError` for a task that lm-eval does not know.
    """
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=suite.get("path"), include_defaults=False)
    if set(suite["tasks"]) - set(manager.all_tasks):  # the harness's own are thousands of files, seconds to index
        manager = TaskManager(include_path=suite.get("path"))
    for task in suite["tasks"]:
        if task not in manager.all_tasks:
            raise UserError(f"suites.{suite['name']}.tasks names '{task}'{_near(task, manager.all_tasks)}")
    loaded = _load(manager, suite)
    groups = loaded["groups"]
    found = lm_eval.simple_evaluate(
        model=backend.harness(suite.get("batch_size", 16), longest(suite, backend.context)),
        tasks=roots(loaded),
        task_manager=manager,
        num_fewshot=suite.get("num_fewshot"),
        limit=suite.get("limit"),
        bootstrap_iters=1000,  # with 0 no metric has a standard error; means have theirs in closed form
        log_samples=True,
        verbosity="WARNING",
    )
    asked = {name for item in roots(loaded) for name in scored(item)}
    read = {name: of_the_hub(task) for name, task in loaded["tasks"].items()}
    return [
        {**row, "asked": task in asked, **({"dataset": read[task]} if read.get(task) else {})}
        for task, metrics in found["results"].items()
        for row in rows(task, metrics, found, groups.get(task))
    ]


def of_the_hub(task: Any) -> dict[str, Any] | None:
    """Which set of the hub a task read, at which commit, and the fingerprints of its splits; None for local files."""
    if task.config.dataset_path in BUILDERS or not isinstance(task.dataset, dict):
        return None
    urls = [url for split in task.dataset.values() for url in split.info.download_checksums or {}]
    commits = sorted({commit for url in urls for commit in re.findall(r"@([0-9a-f]{40})/", url)})
    prints = {name: split._fingerprint for name, split in task.dataset.items()}
    return {"path": task.config.dataset_path, "name": task.config.dataset_name, "commits": commits, "splits": prints}


def roots(loaded: dict[str, Any]) -> list[Any]:
    """What no group holds, of lm-eval's ``{"tasks": …, "groups": …}``: what was asked, a tag's tasks for the tag."""
    items = loaded["groups"] | loaded["tasks"]
    held = {child for group in loaded["groups"].values() for child in group.child_names}
    return [item for name, item in items.items() if name not in held]


def scored(item: Any) -> list[str]:
    """The tasks that an asked item's score is over: itself; of a group that aggregates nothing, its members."""
    if not hasattr(item, "child_names"):
        return [item.task_name]
    return [item.name] if item.has_aggregation else [name for child in item for name in scored(child)]


def weights(group: Any, metric: str, filtered: str, results: dict[str, dict[str, Any]]) -> dict[str, float]:
    """The weight in a group's mean of each task, at any depth, that has the metric; as lm-eval takes them."""
    key = f"{metric},{filtered}"
    rules = [one for one in group.aggregate_metric_list if one.metric == metric]
    rule = [one for one in rules if one.filter_list is None or filtered in one.filter_list][-1]
    leaves = [task.task_name for task in group.get_all_tasks() if key in results[task.task_name]]
    sizes = {leaf: results[leaf]["sample_len"] if rule.weight_by_size else 1 for leaf in leaves}
    return {leaf: size / sum(sizes.values()) for leaf, size in sizes.items()}


def rows(task: str, metrics: dict[str, Any], found: dict[str, Any], group: Any = None) -> list[dict[str, Any]]:
    """lm-eval's ``{"acc,none": …, "acc_stderr,none": …}`` as long rows; ``items`` are the documents' scores."""
    n = found.get("n-samples", {}).get(task, {}).get("effective") or metrics.get("sample_len") or 0
    made = []
    for key, value in metrics.items():
        metric, _, filtered = key.partition(",")
        if not filtered or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        stderr = metrics.get(f"{metric}_stderr,{filtered}")
        name = metric if filtered == "none" else f"{metric}[{filtered}]"
        row = {"task": task, "metric": name, "value": float(value), "stderr": _number(stderr), "n": int(n)}
        if group is not None:
            row["leaves"] = weights(group, metric, filtered, found["results"])
        items = item_scores(found.get("samples", {}).get(task, []), metric, filtered)
        made.append({**row, "items": items} if items else row)
    return made


def item_scores(samples: list[dict[str, Any]], metric: str, filtered: str) -> list[float]:
    """A metric's score of every document, in their order; none for metrics that are no mean over documents."""
    own = sorted((sample for sample in samples if sample["filter"] == filtered), key=lambda sample: sample["doc_id"])
    scores = [sample.get(metric) for sample in own]
    numbers = [float(score) for score in scores if isinstance(score, int | float)]
    return numbers if len(numbers) == len(scores) else []


def _load(manager: Any, suite: dict[str, Any]) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = manager.load(suite["tasks"])
    except ValueError as error:
        if not str(error).startswith("Duplicate task"):
            raise
        raise UserError(
            f"suites.{suite['name']}.tasks asks for a task twice ({error}): name the group or its task, or make two "
            "suites"
        ) from None
    return loaded


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _near(task: str, known: list[str]) -> str:
    hint = did_you_mean(task, known)
    return hint if "did you mean" in hint else ": lm-eval has no such task; put its YAML into the suite's path"
