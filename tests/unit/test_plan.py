"""From the config to cells and artifacts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
from clone import MODEL, REPOSITORY, TEST, TRAIN, Clone, config

from ptqbench import spec
from ptqbench.cells import Cell
from ptqbench.errors import UserError
from ptqbench.plan import Plan

BASELINE = Cell("tiny", "none", "float", "float")


@pytest.fixture
def plan(blank: Clone) -> Plan:
    return Plan(config(), blank.root)


def test_cells_of_overlapping_blocks_come_once(plan: Plan) -> None:
    grid = [Cell("tiny", "text", m, s) for m in ("rtn", "gptq") for s in ("w4g32", "w2g32")]
    assert plan.cells == [BASELINE, *grid]
    pairs = [cell for cell, suite in plan.evaluations if suite == "pairs"]
    assert pairs == [BASELINE, Cell("tiny", "text", "gptq", "w4g32")]
    assert len(plan.evaluations) == len(set(plan.evaluations)) == 7


def test_calibration_sets_are_chosen_by_the_block_or_all(blank: Clone) -> None:
    changed = config()
    changed["calibration"]["other"] = {**changed["calibration"]["text"], "seed": 1}
    changed["grid"][1]["calibration"] = ["other"]
    found = {(cell.calibration, suite) for cell, suite in Plan(changed, blank.root).evaluations}
    assert found == {
        ("none", "perplexity"),
        ("none", "pairs"),
        ("text", "perplexity"),
        ("other", "perplexity"),
        ("other", "pairs"),
    }


def test_code_beside_the_weights_is_trusted_by_the_models_line_or_refused(blank: Clone, tmp_path: Path) -> None:
    changed, folder = config(), tmp_path / "model"
    shutil.copytree(blank.root / MODEL, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text()) | {"auto_map": ["mine.Mine", None]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "mine.py").touch()
    changed["models"]["tiny"] = {"path": str(folder)}
    with pytest.raises(UserError, match=r"^config: models\.tiny\.path: .* names code .*mine\.Mine: set trust_remote"):
        Plan(changed, blank.root)
    changed["models"]["tiny"]["trust_remote_code"] = True
    assert Plan(changed, blank.root).cells


def test_outputs_are_what_a_run_makes(finished: Clone) -> None:
    planned = Plan(config(), finished.root).outputs(Path("results"))
    made = {finished.root / path for path in [*finished.finished(), "results/plan.json"]}
    assert {finished.root / path for path in planned} == made
    assert len(planned) == len(made)


def test_cells_are_diagnosed_where_a_grid_entry_asks(blank: Clone) -> None:
    changed = config()
    assert Plan(changed, blank.root).diagnosed == []
    changed["grid"].append({**changed["grid"][1], "suites": ["perplexity"], "diagnose": True})
    plan = Plan(changed, blank.root)
    assert plan.diagnosed == [Cell("tiny", "text", "gptq", "w4g32")]
    assert Path("results/diagnosis/tiny/text/gptq/w4g32/manifest.json") in plan.outputs(Path("results"))
    found = spec.diagnose_spec(changed, *plan.diagnosed[0])
    assert found["held_out"] == {"corpus": TEST, "windows": 16, "length": 256}
    assert found["method"] == spec.quantize_spec(changed, *plan.diagnosed[0])["method"]


def test_a_diagnosis_needs_a_text(blank: Clone) -> None:
    changed = config()
    changed["grid"][1]["diagnose"] = True
    with pytest.raises(UserError, match=r"^config: grid\.1\.diagnose is true, and none of its suites has a corpus"):
        Plan(changed, blank.root)


def test_a_whole_run_has_no_damage(finished: Clone) -> None:
    plan, results = Plan(config(), finished.root), finished.root / "results"
    assert plan.damaged(results) == []
    assert plan.withdrawn(results) == []


def test_what_is_damaged_stays_withdrawn_until_it_is_made(clone: Clone) -> None:
    plan, results = Plan(config(), clone.root), clone.root / "results"
    statistics = results / "statistics/tiny/text"
    (statistics / "block-000.safetensors").write_bytes(b"")
    result = results / "eval" / BASELINE.path / "pairs.json"
    result.write_text("")
    lines = plan.damaged(results)
    assert [line.split(" ")[0] for line in lines] == [str(statistics / "block-000.safetensors"), str(result)]
    assert plan.damaged(results) == []
    assert plan.withdrawn(results) == [statistics / "manifest.json", result]


def test_digests_follow_the_content_of_local_files(blank: Clone, tmp_path: Path) -> None:
    clone = blank.copy(tmp_path / "clone")
    plan = Plan(config(), clone.root)
    before = plan.weights("tiny"), plan.texts("text"), plan.documents("perplexity"), plan.documents("pairs")
    assert set(before[0]) >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert set(before[1]) == {TRAIN}
    assert set(before[2]) == {TEST}
    assert {Path(name).name for name in before[3]} == {"pairs.jsonl", "pairs.yaml"}
    (clone.root / TEST).touch()
    assert plan.documents("perplexity") == before[2]
    (clone.root / TEST).write_text(tiny.text(1000, seed=9))
    assert plan.documents("perplexity") != before[2]
    tiny.write_model(clone.root / MODEL, seed=9)
    changed = plan.weights("tiny")
    assert {name for name in changed if changed[name] != before[0][name]} == {"model.safetensors"}


def test_paths_may_be_absolute(blank: Clone) -> None:
    plain, absolute = Plan(config(), blank.root), config()
    absolute["models"]["tiny"]["path"] = str(blank.root / MODEL)
    absolute["calibration"]["text"]["corpus"] = str(blank.root / TRAIN)
    absolute["suites"]["perplexity"]["corpora"]["test"] = str(blank.root / TEST)
    del absolute["suites"]["pairs"]  # whose own data begin at the working directory
    absolute["grid"] = [block | {"suites": ["perplexity"]} for block in absolute["grid"]]
    plan = Plan(absolute, Path("/"), workflow=blank.root)
    assert plan.weights("tiny") == plain.weights("tiny")
    for found, expected in (
        (plan.texts("text"), plain.texts("text")),
        (plan.documents("perplexity"), plain.documents("perplexity")),
    ):
        assert found == {str(blank.root / name): digest for name, digest in expected.items()}


READ = {
    "config.json": '{"model_type": "llama"}',
    "generation_config.json": "{}",
    "tokenizer.json": "{}",
    "tokenizer_config.json": '{"chat_template": "{{ messages }}"}',
    "special_tokens_map.json": "{}",
    "added_tokens.json": "{}",
    "vocab.json": "{}",
    "merges.txt": "a b",
    "tokenizer.model": "x",
    "preprocessor_config.json": "{}",
    "processor_config.json": "{}",
    "chat_template.jinja": "x",
    "chat_template.json": "{}",
    "additional_chat_templates/rag.jinja": "x",
}
TRUSTED = ("modeling_mine.py", "other.json", "LICENSE.txt")
UNREAD = ("README.md", ".gitattributes", "pytorch_model.bin", "image.png", "original/params.json")


@pytest.mark.parametrize("trusted", [False, True])
def test_what_a_model_depends_on_is_in_its_key(blank: Clone, tmp_path: Path, trusted: bool) -> None:
    """Whichever file it stands in, when it comes, changes and goes; and nothing else."""
    clone, changed = blank.copy(tmp_path / "clone"), config()
    changed["models"]["tiny"]["trust_remote_code"] = trusted
    plan = Plan(changed, clone.root)
    for name in (*READ, *TRUSTED, *UNREAD):
        file, before, first = clone.root / MODEL / name, plan.weights("tiny"), None
        file.parent.mkdir(exist_ok=True)
        for content in (READ.get(name, "x"), READ.get(name, "x") + " "):
            file.write_text(content)
            found = plan.weights("tiny")
            is_read = name in READ or (trusted and name in TRUSTED)
            assert {key for key in found if found[key] != before.get(key)} == ({name} if is_read else set()), name
            assert found != first or not is_read, name
            first = found


def test_the_adapter_of_a_local_model_is_known_at_once(plan: Plan, blank: Clone) -> None:
    assert plan.adapter("tiny", blank.root / "results") == "llama"


def test_the_adapter_of_a_model_of_the_hub_is_known_once_it_is_here(finished: Clone, tmp_path: Path) -> None:
    changed = config()
    changed["models"]["tiny"] = {"hub": "someone/tiny", "revision": "0" * 40}
    plan = Plan(changed, finished.root)
    assert plan.weights("tiny") == {}
    assert plan.adapter("tiny", tmp_path) is None
    assert plan.adapter("tiny", finished.root / "results") == "llama"


def test_the_adapter_is_remembered_without_the_prepared_model(clone: Clone) -> None:
    changed = config()
    changed["models"]["tiny"] = {"hub": "someone/tiny", "revision": "0" * 40}
    (clone.root / "results/models/tiny/manifest.json").unlink()
    assert Plan(changed, clone.root).adapter("tiny", clone.root / "results") == "llama"


def test_the_type_of_a_model_is_known_at_once_or_once_it_is_here(clone: Clone, tmp_path: Path) -> None:
    results = clone.root / "results"
    assert Plan(config(), clone.root).model_type("tiny", tmp_path) == "llama"
    changed = config()
    changed["models"]["tiny"] = {"hub": "someone/tiny", "revision": "0" * 40}
    plan = Plan(changed, clone.root)
    assert plan.model_type("tiny", tmp_path) is None
    assert plan.model_type("tiny", results) == "llama"
    (results / "models/tiny/manifest.json").unlink()
    assert plan.model_type("tiny", results) == "llama", "remembered without the prepared model"


@pytest.mark.parametrize(
    ("revisions", "words"),
    [
        ({}, "config: 'ptb' is read from the hub, and its commit is not known here: add the lines that python -m"),
        ({"ptbb": "0" * 40}, "config: revisions names 'ptbb', no known set of the hub: did you mean 'ptb'?"),
        ({"ptb": "main"}, "config: revisions.ptb is 'main': it must be the 40 hex digits of a commit"),
    ],
)
def test_sets_of_the_hub_are_read_at_a_commit(blank: Clone, revisions: dict[str, str], words: str) -> None:
    changed = config()
    changed["calibration"]["ptb"] = {"corpus": "ptb", "samples": 4, "sequence_length": 32}
    for block in changed["grid"]:
        block["calibration"] = ["text"]
    Plan(changed, blank.root)
    changed["grid"][0]["calibration"] = ["ptb"]
    Plan(changed | {"revisions": {"ptb": "0" * 40}}, blank.root)
    with pytest.raises(UserError) as raised:
        Plan(changed | {"revisions": revisions}, blank.root)
    assert words in str(raised.value)


def test_names_in_the_grid_exist(blank: Clone) -> None:
    for section, word in (("models", "tinny"), ("calibration", "txt"), ("suites", "perplexities")):
        changed = config()
        changed["grid"][0][section] = [word]
        with pytest.raises(UserError, match=rf"^config: grid\.0\.{section} names '{word}': did you mean"):
            Plan(changed, blank.root)


def test_what_the_grid_does_not_use_needs_no_files(blank: Clone) -> None:
    changed = config()
    changed["models"]["other"] = {"path": "nowhere"}
    changed["schemes"]["w4g48"] = {"bits": 4, "group_size": 48}
    changed["calibration"]["other"] = {**changed["calibration"]["text"], "corpus": "nowhere.txt"}
    for block in changed["grid"]:
        block["calibration"] = ["text"]
    assert Plan(changed, blank.root).cells == Plan(config(), blank.root).cells


@pytest.mark.parametrize(
    ("method", "scheme", "why"),
    [
        ({"rounding": "gptq", "propagate": True}, {}, "method 'gptq' propagates"),
        ({"rounding": "gptaq"}, {}, "method 'gptq' propagates"),
        ({"transform": {"rotation": "learned"}}, {}, "method 'gptq' learns on the whole model"),
        ({}, {"bits": "mixed", "choices": [2, 4], "budget": 3}, "scheme 'w4g32' chooses widths for all blocks"),
    ],
)
def test_what_depends_on_other_blocks_is_not_scattered(
    blank: Clone, method: dict[str, Any], scheme: dict[str, Any], why: str
) -> None:
    changed = {**config(), "scatter": 2}
    assert Plan(changed, blank.root).cells
    changed["methods"]["gptq"] = method
    changed["schemes"]["w4g32"] |= scheme
    with pytest.raises(UserError, match=f"^config: scatter is 2, and {why}.*: remove scatter or the"):
        Plan(changed, blank.root)
    assert Plan({**changed, "scatter": 1}, blank.root).cells


def test_planning_needs_no_torch(blank: Clone) -> None:
    code = (
        "import sys, yaml; from pathlib import Path; from ptqbench.plan import Plan; import ptqbench.fingerprint;"
        "Plan(yaml.safe_load(open('config.yaml'))); sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    environment = {"PYTHONPATH": str(REPOSITORY / "src")}
    run = subprocess.run([sys.executable, "-c", code], cwd=blank.root, env=environment, check=False)
    assert run.returncode == 0
