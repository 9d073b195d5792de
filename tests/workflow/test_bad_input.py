"""Each bad input gets one line that names the key, the value and a remedy; before any work where it can be known."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clone as clones
import pytest
from clone import Clone, config, jobs, one_cell
from safetensors.torch import save_file
from torch import zeros

from ptqbench.errors import UserError
from ptqbench.manifest import verify
from ptqbench.plan import Plan

Change = Callable[[Clone, dict[str, Any]], None]

STATISTICS = "results/statistics/tiny/text/block-001.safetensors"
PACKED = "results/packed/tiny/text/gptq/w4g32/checkpoint/model.safetensors"
RESULT = "results/eval/tiny/text/gptq/w4g32/perplexity.json"


def misspell_a_key(clone: Clone, config: dict[str, Any]) -> None:
    config["schemes"]["w4g32"] = {"bits": 4, "grup_size": 32}


def misspell_a_section(clone: Clone, config: dict[str, Any]) -> None:
    config["calibrations"] = config["calibration"]


def forget_a_key(clone: Clone, config: dict[str, Any]) -> None:
    del config["calibration"]["text"]["samples"]


def give_a_wrong_type(clone: Clone, config: dict[str, Any]) -> None:
    config["calibration"]["text"]["samples"] = "many"


def give_wrong_bits(clone: Clone, config: dict[str, Any]) -> None:
    config["schemes"]["w4g32"]["bits"] = 1


def move_a_branch(clone: Clone, config: dict[str, Any]) -> None:
    config["models"]["tiny"] = {"hub": "someone/tiny", "revision": "main"}


def name_an_unknown_method(clone: Clone, config: dict[str, Any]) -> None:
    config["grid"][0]["methods"] = ["gtpq"]


def name_an_unknown_scheme(clone: Clone, config: dict[str, Any]) -> None:
    config["grid"][0]["schemes"] = ["w4g64"]


def name_an_unknown_rounding(clone: Clone, config: dict[str, Any]) -> None:
    config["methods"]["gptq"] = {"rounding": "gtpq"}


def name_an_unknown_stage(clone: Clone, config: dict[str, Any]) -> None:
    config["methods"]["gptq"] = {"round": "gptq"}


def name_an_unknown_parameter(clone: Clone, config: dict[str, Any]) -> None:
    config["methods"]["gptq"] = {"rounding": {"gptq": {"dampp": 0.1}}}


def give_a_wrong_parameter(clone: Clone, config: dict[str, Any]) -> None:
    config["methods"]["gptq"] = {"rounding": {"gptq": {"damp": "low"}}}


def choose_a_group_that_does_not_divide(clone: Clone, config: dict[str, Any]) -> None:
    config["schemes"]["w4g32"]["group_size"] = 48


def misspell_a_model_folder(clone: Clone, config: dict[str, Any]) -> None:
    config["models"]["tiny"]["path"] = "resources/models/tyni"


def remove_the_weights(clone: Clone, config: dict[str, Any]) -> None:
    (clone.root / clones.MODEL / "model.safetensors").unlink()


def remove_the_tokenizer(clone: Clone, config: dict[str, Any]) -> None:
    (clone.root / clones.MODEL / "tokenizer.json").unlink()


def remove_a_tensor(clone: Clone, config: dict[str, Any]) -> None:
    save_file({"lm_head.weight": zeros(2, 2)}, clone.root / clones.MODEL / "model.safetensors")


def truncate_the_weights(clone: Clone, config: dict[str, Any]) -> None:
    file = clone.root / clones.MODEL / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def garble_the_model_config(clone: Clone, config: dict[str, Any]) -> None:
    (clone.root / clones.MODEL / "config.json").write_text('{"model_type": ')


def change_the_model_type(clone: Clone, config: dict[str, Any]) -> None:
    clone.edit(f"{clones.MODEL}/config.json", '"model_type": "llama"', '"model_type": "lama"')


def empty_the_corpus(clone: Clone, config: dict[str, Any]) -> None:
    (clone.root / clones.TRAIN).write_text(" \n\n")


def shorten_the_corpus(clone: Clone, config: dict[str, Any]) -> None:
    (clone.root / clones.TRAIN).write_text("The cat sees the dog.")


def shorten_the_text_to_evaluate_on(clone: Clone, config: dict[str, Any]) -> None:
    (clone.root / clones.TEST).write_text("The cat sees the dog.")


def misspell_a_corpus(clone: Clone, config: dict[str, Any]) -> None:
    config["calibration"]["text"]["corpus"] = "wikitex2"


def misspell_a_text_file(clone: Clone, config: dict[str, Any]) -> None:
    config["suites"]["perplexity"]["corpora"]["test"] = "resources/text/tset.txt"


def mix_up_the_kinds_of_suite(clone: Clone, config: dict[str, Any]) -> None:
    config["suites"]["pairs"]["window"] = 64


CASES: list[tuple[Change, list[str]]] = [
    (misspell_a_key, ["'grup_size'", "schemes.w4g32", "did you mean 'group_size'"]),
    (misspell_a_section, ["'calibrations'", "did you mean 'calibration'"]),
    (forget_a_key, ["calibration.text", "'samples'", "add it"]),
    (give_a_wrong_type, ["calibration.text.samples", "'many'", "type integer"]),
    (give_wrong_bits, ["schemes.w4g32.bits", "is 1", "choose from 2, 3, 4"]),
    (move_a_branch, ["models.tiny.revision", "'main'", "40 hex digits"]),
    (name_an_unknown_method, ["grid.0.methods", "'gtpq'", "did you mean 'gptq'"]),
    (name_an_unknown_scheme, ["grid.0.schemes", "'w4g64'", "did you mean 'w4g32'"]),
    (name_an_unknown_rounding, ["methods.gptq.rounding", "'gtpq'", "did you mean 'gptq'"]),
    (name_an_unknown_stage, ["config: methods.gptq.round", "did you mean 'rounding'"]),
    (name_an_unknown_parameter, ["methods.gptq.rounding.gptq.dampp", "did you mean 'damp'"]),
    (give_a_wrong_parameter, ["methods.gptq.rounding.gptq.damp", "'low'", "number"]),
    (choose_a_group_that_does_not_divide, ["schemes.w4g32.group_size", "48", "64", "q_proj", "choose a divisor"]),
    (misspell_a_model_folder, ["models.tiny.path", "resources/models/tyni", "give a path that exists"]),
    (remove_the_weights, ["models.tiny.path", clones.MODEL, "safetensors", "download"]),
    (remove_the_tokenizer, ["models.tiny.path", clones.MODEL, "tokenizer.json", "copy"]),
    (remove_a_tensor, ["models.tiny.path", "model.layers.0.self_attn.q_proj.weight", "fetch"]),
    (truncate_the_weights, ["models.tiny.path", "model.safetensors", "bytes", "fetch it again"]),
    (garble_the_model_config, ["models.tiny.path", "config.json", "not JSON"]),
    (change_the_model_type, ["models.tiny.path", "'lama'", "llama", "add an adapter"]),
    (empty_the_corpus, ["calibration.text.corpus", clones.TRAIN, "empty", "give a text"]),
    (shorten_the_corpus, ["calibration.text.corpus", clones.TRAIN, "sequence_length of 32", "give more text"]),
    (shorten_the_text_to_evaluate_on, ["suites.perplexity.corpora.test", clones.TEST, "window of 64", "give more"]),
    (misspell_a_corpus, ["calibration.text.corpus", "'wikitex2'", "did you mean 'wikitext2'"]),
    (misspell_a_text_file, ["suites.perplexity.corpora.test", "tset.txt", "correct the path"]),
    (mix_up_the_kinds_of_suite, ["suites.pairs.window", "64", "remove it"]),
]


@pytest.mark.parametrize(("change", "expected"), CASES, ids=[change.__name__ for change, _ in CASES])
def test_the_plan_names_key_value_and_remedy(blank: Clone, tmp_path: Path, change: Change, expected: list[str]) -> None:
    clone, changed = blank.copy(tmp_path / "clone"), config()
    change(clone, changed)
    with pytest.raises(UserError) as raised:
        Plan(changed, clone.root)
    for word in expected:
        assert word in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("change", [misspell_a_key, remove_the_weights, shorten_the_corpus])
def test_the_terminal_shows_one_line_and_no_work_is_done(blank: Clone, tmp_path: Path, change: Change) -> None:
    clone, changed = blank.copy(tmp_path / "clone"), config()
    change(clone, changed)
    clone.configure(changed)
    run = clone.snakemake()
    assert run.returncode == 1
    shown = [line for line in run.stdout.splitlines() if not line.startswith("Using workflow specific profile")]
    assert len(shown) == 1, run.stdout
    assert shown[0].startswith("error: config: ")
    assert all(word in shown[0] for word in dict(CASES)[change])
    assert not (clone.root / "results").exists()


def test_a_corrupt_artifact_is_named_by_its_reader_and_made_anew(clone: Clone) -> None:
    changed = one_cell()
    changed["schemes"]["w3g32"] = {"bits": 3, "group_size": 32}
    changed["grid"][0]["schemes"] = ["w3g32"]
    clone.configure(changed)
    file, target = clone.root / STATISTICS, "results/quantized/tiny/text/gptq/w3g32/manifest.json"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)

    run = clone.snakemake(target)
    assert run.returncode == 1
    lines = [line for line in run.stdout.splitlines() if line.startswith("error: ")]
    assert lines == [f"error: {STATISTICS} does not have the recorded sha256: withdrawn, snakemake makes it anew"]
    assert "Traceback" not in run.stdout
    assert not (clone.root / target).exists()
    assert ("statistics", "tiny/text") in clone.stale()

    run = clone.snakemake(target)
    assert run.returncode == 0, run.stdout
    assert jobs(run.stdout) == {("statistics", "tiny/text"), ("quantize", "tiny/text/gptq/w3g32")}
    verify(file.with_name("manifest.json"))
    path = "tiny/text/gptq/w3g32"
    assert clone.stale() == {("export", path), ("evaluate", f"{path}/perplexity")}


def test_a_truncated_artifact_is_named_and_made_anew_in_the_same_run(clone: Clone) -> None:
    clone.configure(one_cell())
    file = clone.root / PACKED
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-10])
    run = clone.snakemake()
    assert run.returncode == 0, run.stdout
    lines = [line for line in run.stdout.splitlines() if line.startswith("damaged: ")]
    assert lines == [f"damaged: {PACKED} has {size - 10} bytes instead of {size}: withdrawn, snakemake makes it anew"]
    path = "tiny/text/gptq/w4g32"
    assert jobs(run.stdout) >= {("export", path), ("evaluate", f"{path}/perplexity")}
    verify(clone.root / f"results/packed/{path}/manifest.json")
    assert clone.stale() == set()


def test_every_truncated_artifact_is_noticed_at_planning(clone: Clone) -> None:
    cell = "tiny/text/gptq/w4g32"
    truncated = {
        "results/models/tiny/manifest.json": ("prepare", "tiny"),
        "results/calibration/tiny/text/tokens.parquet": ("calibrate", "tiny/text"),
        STATISTICS: ("statistics", "tiny/text"),
        f"results/quantized/{cell}/block-000.safetensors": ("quantize", cell),
        PACKED: ("export", cell),
        RESULT: ("evaluate", f"{cell}/perplexity"),
    }
    for file in truncated:
        path = clone.root / file
        path.write_bytes(path.read_bytes()[:20])
    run = clone.snakemake("--dry-run")
    for file, first in truncated.items():
        assert f"damaged: {file}" in run.stdout
        assert first in jobs(run.stdout)
    assert set(truncated.values()) <= clone.stale(), "forgotten by the run after"


def test_a_garbled_result_is_made_anew_alone(clone: Clone) -> None:
    (clone.root / RESULT).write_text("{]")
    assert clone.stale() == {("evaluate", "tiny/text/gptq/w4g32/perplexity")}


def test_a_file_removed_from_an_artifact_is_damage(clone: Clone) -> None:
    (clone.root / PACKED).unlink()
    assert ("export", "tiny/text/gptq/w4g32") in clone.stale()
    shutil.rmtree(clone.root / "results/packed/tiny/text/gptq/w2g32")
    assert ("export", "tiny/text/gptq/w2g32") not in clone.stale()


def test_files_of_configuration_are_looked_at_before_they_are_loaded(blank: Clone, tmp_path: Path) -> None:
    clone = blank.copy(tmp_path / 'it\'s a "checkout"')
    given = tmp_path / "given.yaml"
    given.write_text("schemes:\n  w4: {bits: 4}\n  w4: {bits: 2}\n")
    elsewhere = Clone(tmp_path)
    for runs, arguments, told in (
        (clone, ("--configfile", str(given), "--replace-workflow-config"), f"{given}, line 3: the key 'w4' stands in"),
        (elsewhere, ("--snakefile", str(clone.root / "Snakefile")), f"there is no config.yaml in {tmp_path}"),
    ):
        run = runs.snakemake("--dry-run", *arguments)
        assert run.returncode == 1
        lines = [line for line in run.stdout.splitlines() if not line.startswith("Using workflow specific profile")]
        assert len(lines) == 1
        assert lines[0].startswith(f"error: {told}")


def test_a_snakefile_is_called_from_another_folder(blank: Clone, tmp_path: Path) -> None:
    clone, work = blank.copy(tmp_path / 'it\'s a "checkout"'), Clone(tmp_path / "work")
    work.root.mkdir()
    changed = one_cell()
    changed["models"]["tiny"]["path"] = str(clone.root / clones.MODEL)
    changed["calibration"]["text"]["corpus"] = str(clone.root / clones.TRAIN)
    changed["suites"]["perplexity"]["corpora"]["test"] = str(clone.root / clones.TEST)
    del changed["suites"]["pairs"]  # whose data begin at the working directory
    changed["grid"][0]["suites"] = ["perplexity"]
    work.configure(changed)
    target = "results/calibration/tiny/text/manifest.json"
    run = work.snakemake("--snakefile", str(clone.root / "Snakefile"), target)
    assert run.returncode == 0, run.stdout
    assert verify(work.root / target)
    assert not (clone.root / "results").exists()
