"""A suite of kind fidelity through its stages, against the two models' full logits."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from serving import fake_environment
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, CompressedTensorsConfig

from ptqbench import spec
from ptqbench.errors import DamagedArtifact
from ptqbench.evaluation import server
from ptqbench.manifest import NAME, canonical, read_result, verify
from ptqbench.places import checkpoint_folder
from ptqbench.records import Reference
from ptqbench.stages import evaluate, export, reference

CELL, BASELINE = ("tiny", "text", "gptq", "w3g32"), ("tiny", "none", "float", "float")
WINDOWS = 5
SUITE = {"kind": "fidelity", "corpora": {"test": "test.txt"}, "limit": WINDOWS, "batch_size": 2}

# `chain` comes from conftest.py


@pytest.fixture(scope="module")
def config(chain) -> dict[str, Any]:
    return {**deepcopy(chain.config), "suites": {"fidelity": SUITE}}


@pytest.fixture(scope="module")
def stored(chain, config: dict[str, Any]) -> Path:
    made = Path("out/reference/manifest.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(chain.root)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        asks = spec.reference_spec(config, "tiny", "fidelity")
        reference.main(["--spec", canonical(asks), "--model", str(chain.model), "--out", str(made)])
    return made


def evaluated(chain, config: dict[str, Any], stored: Path, cell: tuple[str, ...], packed: Path, out: Path) -> Any:
    asks = spec.evaluate_spec(config, *cell, "fidelity")
    given = ["--checkpoint", packed, "--reference", stored, "--model", chain.model, "--out", out]
    evaluate.main(["--spec", canonical(asks), *map(str, given)])
    return {row["metric"]: row for row in read_result(out)["rows"]}


def logits(folder: Path | str, cut: Tensor, **options: Any) -> Tensor:
    """In float64, but for what the model computes."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options).eval()
    with torch.no_grad():
        return torch.cat([model(input_ids=row[None]).logits for row in cut]).double()


def windows() -> Tensor:
    ids = AutoTokenizer.from_pretrained("model")(Path("test.txt").read_text())["input_ids"]
    return torch.tensor(ids[: WINDOWS * tiny.CONTEXT]).view(WINDOWS, tiny.CONTEXT)


def test_it_is_what_both_models_full_logits_say(chain, config: dict[str, Any], stored: Path, tmp_path: Path) -> None:
    rows = evaluated(chain, config, stored, CELL, chain.packed, tmp_path / "cell.json")
    cut, options = windows(), {"quantization_config": CompressedTensorsConfig(run_compressed=False)}
    p = logits("model", cut)[:, :-1].softmax(-1)
    q = logits(checkpoint_folder(chain.packed, verify(chain.packed)), cut, **options)[:, :-1].softmax(-1)
    kl = (p * (p / q).log()).sum(-1)
    assert rows["kl"]["value"] == pytest.approx(kl.mean().item(), rel=1e-4)
    assert rows["kl"]["items"] == pytest.approx(kl.mean(1).tolist(), rel=1e-4)
    assert rows["kl"]["stderr"] == pytest.approx(kl.mean(1).std().item() / math.sqrt(WINDOWS), rel=1e-4)
    assert rows["kl_p99"]["value"] == pytest.approx(kl.flatten().quantile(0.99).item(), rel=1e-4)
    assert rows["same_top"]["value"] == pytest.approx((p.argmax(-1) == q.argmax(-1)).double().mean().item())
    shift = (q - p).gather(-1, cut[:, 1:, None])
    assert rows["rms_shift"]["value"] == pytest.approx(shift.square().mean().sqrt().item(), rel=1e-4)
    assert {(row["n"], row["window"]) for row in rows.values()} == {(WINDOWS, tiny.CONTEXT)}
    assert rows["kl"]["value"] > 1e-4


def test_the_float_model_is_at_no_distance(chain, config: dict[str, Any], stored: Path, tmp_path: Path) -> None:
    rows = evaluated(chain, config, stored, BASELINE, chain.baseline, tmp_path / "float.json")
    assert {name: row["value"] for name, row in rows.items()} == {**dict.fromkeys(rows, 0.0), "same_top": 1.0}


def test_packed_is_dense(chain, config: dict[str, Any], stored: Path, tmp_path: Path) -> None:
    dense = deepcopy(config)
    dense["schemes"]["w3g32"]["format"] = "dense"
    manifest = tmp_path / "dense" / NAME
    asks = canonical(spec.export_spec(dense, *CELL))
    export.main(
        ["--spec", asks, "--model", str(chain.model), "--quantized", str(chain.quantized), "--out", str(manifest)]
    )
    found = [
        evaluated(chain, config, stored, CELL, chain.packed, tmp_path / "packed.json"),
        evaluated(chain, dense, stored, CELL, manifest, tmp_path / "dense.json"),
    ]
    assert found[0] == found[1]


def test_the_artifact_is_whole_and_made_once(chain, config: dict[str, Any], stored: Path, tmp_path: Path) -> None:
    content = verify(stored, Reference)
    assert content["windows"] == WINDOWS
    assert {"ptqbench/stages/reference.py", "ptqbench/models/adapters/llama.py"} <= set(content["code"])
    assert set(content["sources"]) == {"test.txt"}
    before = stored.stat().st_mtime_ns
    asks = spec.reference_spec(config, "tiny", "fidelity")
    reference.main(["--spec", canonical(asks), "--model", str(chain.model), "--out", str(stored)])
    assert stored.stat().st_mtime_ns == before
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in stored.parent.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "test.safetensors").write_bytes(b"x" + (copy / "test.safetensors").read_bytes()[1:])
    with pytest.raises((DamagedArtifact, SystemExit)):
        evaluated(chain, config, copy / NAME, CELL, chain.packed, tmp_path / "never.json")


def test_through_a_server_it_is_a_bound(
    chain, config: dict[str, Any], stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM_PIDS", str(tmp_path / "pids"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(server, "LIMITS", replace(server.LIMITS, pause=0.2, request=5.0))
    served = deepcopy(config)
    served["suites"]["fidelity"] |= {"backend": "vllm-cpu", "top_k": 30}
    asks = spec.evaluate_spec(served, *BASELINE, "fidelity")
    marker, out = fake_environment(tmp_path / "environment"), tmp_path / "served.json"
    given = ["--checkpoint", chain.baseline, "--reference", stored, "--model", chain.model, "--out", out]
    evaluate.main(["--spec", canonical(asks), *map(str, given), "--server", str(marker)])
    rows = {row["metric"]: row for row in read_result(out)["rows"]}
    assert list(rows)[:4] == ["kl_bound", "kl_bound_median", "kl_bound_p99", "kl_bound_p99.9"]
    assert rows["kl_bound"]["top_k"] == 30
    assert "'--max-logprobs', '30'" in out.with_suffix(".server.log").read_text()
    p, cut = logits("model", windows())[:, :-1].softmax(-1), windows()
    came = p.gather(-1, cut[:, 1:, None])[..., 0]
    q = torch.exp(-((cut[:, 1:] % 7) + 1) / 4)  # the fake names the token that came, and no other
    bound = came * (came / q).log() + (1 - came) * ((1 - came) / (1 - q)).log()
    assert rows["kl_bound"]["value"] == pytest.approx(bound.mean().item(), rel=1e-4)


def test_a_reference_depends_on_the_windows_alone(config: dict[str, Any]) -> None:
    before = spec.reference_spec(config, "tiny", "fidelity")
    for key, value, same in (
        ("top_k", 5, True),
        ("backend", "vllm-cpu", True),
        ("limit", 6, False),
        ("window", 8, False),
    ):
        changed = deepcopy(config)
        changed["suites"]["fidelity"][key] = value
        assert (spec.reference_spec(changed, "tiny", "fidelity") == before) is same
