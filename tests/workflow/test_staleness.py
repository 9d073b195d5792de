"""The exact set of jobs that a change makes stale, after one full run, by dry run."""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import clone as clones
import polars as pl
import pytest
import tiny
from clone import Clone, Job, config

from ptqbench.fingerprint import fingerprint
from ptqbench.reach import roots

GPTQ = "src/ptqbench/methods/rounding/gptq.py"
SCHEMES = ("w4g32", "w2g32")
FLOAT = "none/float/float"


def cell(method: str, scheme: str, model: str = "tiny", suites: tuple[str, ...] = ("perplexity",)) -> set[Job]:
    """All jobs of one cell, evaluations included."""
    path = f"{model}/text/{method}/{scheme}"
    return {("quantize", path), ("export", path), *(("evaluate", f"{path}/{suite}") for suite in suites)}


def gptq(model: str = "tiny") -> set[Job]:
    return cell("gptq", "w4g32", model, ("perplexity", "pairs")) | cell("gptq", "w2g32", model)


def quantized(model: str = "tiny") -> set[Job]:
    """Every job of a model's cells, the baseline left out."""
    return gptq(model) | cell("rtn", "w4g32", model) | cell("rtn", "w2g32", model)


def baseline(model: str = "tiny") -> set[Job]:
    suites = ("perplexity", "pairs")
    return {("export_float", f"{model}/{FLOAT}"), *(("evaluate", f"{model}/{FLOAT}/{suite}") for suite in suites)}


def everything(model: str = "tiny") -> set[Job]:
    shared = {("prepare", model), ("calibrate", f"{model}/text"), ("statistics", f"{model}/text")}
    return shared | quantized(model) | baseline(model)


def rewrite(clone: Clone, file: str, change: Callable[[str], str]) -> None:
    path = clone.root / file
    changed = change(path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)


def test_nothing_is_stale_after_a_run(clone: Clone) -> None:
    assert clone.stale() == set()


def test_a_model(clone: Clone) -> None:
    changed = config()
    tiny.write_model(clone.root / "resources/models/second", seed=1)
    changed["models"]["second"] = {"path": "resources/models/second"}
    for block in changed["grid"]:
        block["models"].append("second")
    clone.configure(changed)
    assert clone.stale() == everything("second")


def test_gpus_that_share_a_model_change_no_result(clone: Clone) -> None:
    changed = config()
    changed["models"]["tiny"]["gpus"] = 2
    clone.configure(changed)
    assert clone.stale() == set()


def test_a_scheme(clone: Clone) -> None:
    changed = config()
    changed["schemes"]["w3g32"] = {"bits": 3, "group_size": 32}
    changed["grid"][0]["schemes"].append("w3g32")
    clone.configure(changed)
    assert clone.stale() == cell("rtn", "w3g32") | cell("gptq", "w3g32")


def test_a_method_that_propagates_needs_no_statistics(clone: Clone) -> None:
    changed = config()
    tiny.write_model(clone.root / "resources/models/second", seed=1)
    changed["models"]["second"] = {"path": "resources/models/second"}
    changed["methods"]["behind"] = {"rounding": "gptq", "propagate": True}
    changed["grid"].append({**changed["grid"][0], "models": ["second"], "methods": ["behind"], "schemes": ["w4g32"]})
    clone.configure(changed)
    stages = {stage for stage, _ in clone.stale()}
    assert "statistics" not in stages
    assert {"prepare", "calibrate", "quantize", "export", "evaluate"} <= stages


def test_a_method(clone: Clone) -> None:
    changed = config()
    changed["methods"]["gptq-damped"] = {"rounding": {"gptq": {"damp": 0.1}}}
    changed["grid"][0]["methods"].append("gptq-damped")
    clone.configure(changed)
    assert clone.stale() == cell("gptq-damped", "w4g32") | cell("gptq-damped", "w2g32")


def test_a_parameter_of_a_method(clone: Clone) -> None:
    changed = config()
    changed["methods"]["gptq"] = {"rounding": {"gptq": {"damp": 0.1}}}
    clone.configure(changed)
    assert clone.stale() == gptq()


def test_a_default_written_out(clone: Clone) -> None:
    changed = config()
    changed["methods"]["gptq"] = {"range": "minmax", "rounding": {"gptq": {"damp": 0.01}}, "propagate": False}
    changed["calibration"]["text"]["seed"] = 0
    clone.configure(changed)
    assert clone.stale() == set()


def test_a_suite(clone: Clone) -> None:
    changed = config()
    changed["suites"]["short"] = {**changed["suites"]["perplexity"], "window": 16}
    changed["grid"][0]["suites"].append("short")
    clone.configure(changed)
    paths = [f"tiny/{FLOAT}", *(f"tiny/text/{m}/{s}" for m, s in product(("rtn", "gptq"), SCHEMES))]
    assert clone.stale() == {("evaluate", f"{path}/short") for path in paths}


def test_the_calibration_set(clone: Clone) -> None:
    changed = config()
    changed["calibration"]["text"]["seed"] = 1
    clone.configure(changed)
    assert clone.stale() == {("calibrate", "tiny/text"), ("statistics", "tiny/text")} | quantized()


def test_the_code_of_several_rooms(clone: Clone) -> None:
    """A rounding recomputes its cells and a kind of suite its evaluations; what no job of the config runs, nothing.

    What each file by itself recomputes is in tests/unit/test_reach.py, by the keys that Snakemake compares here.
    """
    unused = ("diagnosis/depth", "drive/propagate", "estimates/needs", "methods/transforms/salience", "plan")
    for file in (GPTQ, "src/ptqbench/evaluation/tasks.py", *(f"src/ptqbench/{name}.py" for name in unused)):
        rewrite(clone, file, lambda source: source + "\nNEW = 1\n")
    assert clone.stale() == gptq() | {("evaluate", f"tiny/{FLOAT}/pairs")}


def test_what_is_planned_by_is_what_is_stored(finished: Clone) -> None:
    rules = {"models": "prepare", "calibration": "calibrate", "quantized": "quantize", "packed": "export"}
    rules |= {"statistics": "statistics", "eval": "evaluate"}
    for path in finished.finished():
        content = json.loads((finished.root / path).read_text())
        named = roots(rules[path.split("/")[1]], content["spec"], "llama")
        assert content["code"] == fingerprint(named), path


def test_a_declared_default_of_a_rounding(clone: Clone) -> None:
    clone.edit(GPTQ, "damp: float = parameter(0.01", "damp: float = parameter(0.02")
    assert clone.stale() == gptq()


def test_the_code_of_a_statistic(clone: Clone) -> None:
    clone.edit("src/ptqbench/statistics/magnitude.py", "x.float().abs()", "x.abs().float()")
    assert clone.stale() == {("statistics", "tiny/text")} | quantized()


def test_the_code_of_a_format(clone: Clone) -> None:
    clone.edit("src/ptqbench/formats/dense.py", "return None", "return None or None")
    assert clone.stale() == {job for job in quantized() if job[0] != "quantize"}


def test_the_code_of_an_adapter(clone: Clone) -> None:
    clone.edit("src/ptqbench/models/adapters/llama.py", "reads_stream=True", "reads_stream=bool(1)")
    assert clone.stale() == {("calibrate", "tiny/text"), ("statistics", "tiny/text")} | quantized() | baseline()


def test_new_files_that_nothing_uses(clone: Clone) -> None:
    for folder in ("methods/rounding", "methods/transforms", "methods/ranges", "models/adapters"):
        members = clone.root / "src/ptqbench" / folder
        (members / "unused.py").write_text('MODEL_TYPES = ("none",)\n')
    assert clone.stale() == set()


@pytest.mark.parametrize(
    "change",
    [
        lambda source: source + "\n# a comment\n",
        lambda source: re.sub(r'"""(?=\w)', '"""In other words. ', source),
        lambda source: ast.unparse(ast.parse(source)),
    ],
    ids=["comment", "docstrings", "layout"],
)
def test_comments_docstrings_and_layout(clone: Clone, change: Callable[[str], str]) -> None:
    for file in (GPTQ, "src/ptqbench/statistics/hessian.py", "src/ptqbench/stages/evaluate.py"):
        rewrite(clone, file, change)
    assert clone.stale() == set()


def test_a_fresh_clone_with_results_carried_over(finished: Clone, tmp_path: Path) -> None:
    fresh = clones.make(tmp_path / "fresh")
    for name in clones.MADE:
        shutil.copytree(finished.root / name, fresh.root / name, copy_function=shutil.copyfile)  # as `cp -r`: new times
    run = fresh.snakemake()
    assert run.returncode == 0, run.stdout
    assert "Nothing to be done" in run.stdout


def test_retrained_weights(clone: Clone) -> None:
    tiny.write_model(clone.root / clones.MODEL, seed=1)
    assert clone.stale() == everything()


def test_what_is_read_beside_the_weights(clone: Clone) -> None:
    for name in ("README.md", ".gitattributes", "LICENSE.txt", "modeling_mine.py"):
        (clone.root / clones.MODEL / name).write_text("other words")
    assert clone.stale() == set()
    (clone.root / clones.MODEL / "chat_template.jinja").write_text("{{ messages }}")
    assert clone.stale() == everything()


def test_the_text_to_calibrate_on(clone: Clone) -> None:
    (clone.root / clones.TRAIN).write_text(tiny.text(3000, seed=3))
    assert clone.stale() == {("calibrate", "tiny/text"), ("statistics", "tiny/text")} | quantized()


def test_the_text_to_evaluate_on(clone: Clone) -> None:
    (clone.root / clones.TEST).write_text(tiny.text(1000, seed=3))
    assert clone.stale() == {job for job in quantized() | baseline() if job[1].endswith("/perplexity")}


def test_the_items_of_a_task(clone: Clone) -> None:
    clone.edit(f"{clones.TASK}/pairs.jsonl", "river.", "house.")
    assert clone.stale() == {job for job in quantized() | baseline() if job[1].endswith("/pairs")}


def test_touched_files(clone: Clone) -> None:
    for name in ("src", "workflow", "resources", "envs"):
        for file in (clone.root / name).rglob("*"):
            file.touch()
    assert clone.stale() == set()


def test_the_report_reads_nothing_but_its_inputs(clone: Clone) -> None:
    """What was deleted to save space is not missed, and not made again."""
    kept = [path for name in ("cells", "layers", "scores") for path in [clone.root / f"reports/{name}.parquet"]]
    before = [pl.read_parquet(path) for path in kept]
    for name in ("calibration", "statistics", "quantized", "packed"):
        shutil.rmtree(clone.root / "results" / name)
    run = clone.snakemake("--forcerun", "report")
    assert run.returncode == 0, run.stdout
    assert clones.jobs(run.stdout) == {("report", ""), ("all", "")}
    for path, table in zip(kept, before, strict=True):
        assert pl.read_parquet(path).equals(table), path


def test_a_result_that_was_made_anew(clone: Clone) -> None:
    """The report follows each of its inputs."""
    (clone.root / f"results/eval/tiny/{FLOAT}/pairs.json").unlink()
    run = clone.snakemake("--dry-run")
    assert ("report", "") in clones.jobs(run.stdout)
    assert clone.stale() == {("evaluate", f"tiny/{FLOAT}/pairs")}


def test_intermediates_deleted_to_save_space(clone: Clone) -> None:
    for name in ("statistics", "quantized", "packed"):
        shutil.rmtree(clone.root / "results" / name)
    assert clone.stale() == set()


def test_the_float_models_predictions_are_made_once(clone: Clone) -> None:
    """A suite of kind fidelity has one more job a model; what reads them follows them."""
    changed = config()
    changed["suites"]["near"] = {"kind": "fidelity", "corpora": {"test": clones.TEST}, "limit": 2}
    changed["grid"][1]["suites"].append("near")
    clone.configure(changed)
    cells = {("evaluate", f"tiny/{path}/near") for path in (FLOAT, "text/gptq/w4g32")}
    once = {("reference", "tiny/near")}
    results = [f"results/eval/{job[1]}.json" for job in sorted(cells)]
    run = clone.snakemake("--", *results)
    assert run.returncode == 0, run.stdout
    assert clones.jobs(run.stdout) == once | cells


def test_seeds_are_cells_of_their_own(clone: Clone) -> None:
    """The seed that there is runs nothing again, and the report takes both together."""
    changed = config()
    changed["grid"][1]["seeds"] = [0, 1]
    clone.configure(changed)
    run = clone.snakemake()
    assert run.returncode == 0, run.stdout
    path = "tiny/text@seed1/gptq/w4g32"
    made = {("quantize", path), ("export", path), ("evaluate", f"{path}/pairs")}
    made |= {(stage, "tiny/text@seed1") for stage in ("calibrate", "statistics")}
    assert clones.jobs(run.stdout) == made | {("plan", ""), ("report", ""), ("all", "")}
    scores = pl.read_parquet(clone.root / "reports/scores.parquet")
    mean = scores.filter(pl.col("calibration") == "text@seeds")
    assert mean.select("method", "scheme", "suite", "seeds").rows() == [("gptq", "w4g32", "pairs", 2)]
    assert mean["seed_sd"].is_finite().all()
    assert "sd over seeds" in (clone.root / "reports/summary.md").read_text()
