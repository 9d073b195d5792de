"""Damaged model folders of every family: one line from planning or prepare, or a model that later jobs work with."""

from __future__ import annotations

import copy
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import tiny
import torch
from clone import REPOSITORY
from model_folders import MODELS, copied, damaged
from soak import SOAK, count

from ptqbench import spec
from ptqbench.errors import UserError
from ptqbench.evaluation.backends.text import Text
from ptqbench.manifest import canonical, load
from ptqbench.models.adapter import load_adapter
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.headers import read_config
from ptqbench.models.load import image_processor, load_model
from ptqbench.models.sight import image_tokens
from ptqbench.models.skeleton import Skeleton, run_block
from ptqbench.plan import Plan
from ptqbench.stages import prepare

LONGEST = 20  # seconds
LINE = 330  # characters, without the paths of a test's own folder
CONFIG: dict[str, Any] = {
    "calibration": {"text": {"corpus": "train.txt", "samples": 2, "sequence_length": 32}},
    "schemes": {"w8": {"bits": 8}},
    "methods": {"rtn": {}},
    "suites": {"ppl": {"kind": "perplexity", "corpora": {"t": "train.txt"}, "window": 32}},
    "backend": "transformers",
    "grid": [{"models": ["m"], "methods": ["rtn"], "schemes": ["w8"], "suites": ["ppl"]}],
}


@contextmanager
def limited() -> Iterator[None]:
    """No longer than :data:`LONGEST`."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"{LONGEST} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "train.txt").write_text(tiny.text(6000))
    (tmp_path / "workflow").symlink_to(REPOSITORY / "workflow")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answered(root: Path) -> str | None:
    """The line of planning or prepare; None where both let the folder pass."""
    config = copy.deepcopy(CONFIG) | {"models": {"m": {"path": "model"}}}
    out = root / "out/manifest.json"
    try:
        plan = Plan(config)
        assert plan.weights("m")
        assert plan.adapter("m", root)
        prepare.main(["--spec", canonical(spec.model_spec(config, "m")), "--out", str(out)])
    except UserError as error:
        return str(error)
    except SystemExit as error:
        return str(error.code).removeprefix("error: ")
    assert load(out)["sources"] == plan.weights("m")
    return None


@torch.no_grad()
def work(folder: Path) -> None:
    """What later jobs do with a model: its tokens, a block by itself, and the whole as transformers loads it."""
    text, checkpoint = Text(folder, False), Checkpoint(folder)
    ids = torch.tensor([text.tokenize(tiny.text(200))[:16]])
    skeleton = Skeleton(checkpoint, torch.device("cpu"), torch.float32)
    inputs = skeleton.inputs(ids, 1)
    block = skeleton.block(0, checkpoint.block(0))
    assert next(run_block(block, inputs)).shape[:2] == ids.shape
    model, told = load_model(folder, load_adapter(read_config(folder, "w")), output_loading_info=True)
    assert not told["missing_keys"]
    assert model(input_ids=ids).logits.shape[:2] == ids.shape
    if checkpoint.adapter.tower:
        from PIL import Image

        place, features = image_tokens(folder, checkpoint.config)
        pixels = image_processor(folder)([Image.new("RGB", (30, 20))], return_tensors="pt")["pixel_values"]
        ids = torch.tensor([[5] * 3 + [place] * features + [6] * 3])
        assert model(input_ids=ids, pixel_values=pixels.to(model.dtype)).logits.shape[:2] == ids.shape


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.name)
def test_embedded_models_pass(root: Path, model: Path) -> None:
    copied(model, root / "model")
    assert answered(root) is None
    work(root / "model")


@pytest.mark.timeout(0 if SOAK else 600)
@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.name)
def test_a_damaged_folder_is_one_line_or_works(root: Path, model: Path) -> None:
    passed, lines = 0, set()
    for seed in range(count(6, 84)):
        rng = random.Random(f"{model.name} {seed}")
        copied(model, root / "model")
        what = damaged(root / "model", rng)
        with limited():
            line = answered(root)
        if line is None:
            passed += 1
            try:
                work(root / "model")
            except Exception as error:
                raise AssertionError(f"{seed}, {what}: accepted, and then {type(error).__name__}: {error}") from error
            continue
        assert "models.m" in line, f"{seed}, {what}: {line}"
        assert "\n" not in line
        assert len(line) < LINE, f"{seed}, {what}: {line}"
        lines.add(line)
    print(f"{model.name}: {passed} passed, {len(lines)} different lines")
