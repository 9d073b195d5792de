"""Damaged model folders of every family: one line from planning or prepare, or a model that later jobs work with."""

from __future__ import annotations

import copy
import random
import shutil
import signal
import traceback
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
from ptqbench.errors import LONGEST, UserError, short
from ptqbench.evaluation.backends.text import Text
from ptqbench.manifest import canonical, load
from ptqbench.models.adapter import load_adapter
from ptqbench.models.checkpoint import Checkpoint
from ptqbench.models.headers import read_config
from ptqbench.models.load import image_processor, load_model
from ptqbench.models.sight import image_tokens
from ptqbench.models.skeleton import Skeleton
from ptqbench.models.stream import run_block
from ptqbench.plan import Plan
from ptqbench.stages import prepare

SECONDS = 20
USUAL, EACH = 6, 84  # folders of each model in CI and in a soak
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
    """No longer than :data:`SECONDS`."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"{SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
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
    assert text.context > 0
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


def problem(root: Path) -> str | None:
    """What is wrong with the answer to a damaged folder; None for a folder that works, or one good line."""
    shutil.rmtree(root / "out", ignore_errors=True)
    line = None
    try:
        with limited():
            line = answered(root)
            if line is None:
                work(root / "model")
    except Exception as error:
        what = "accepted, and then" if line is None else "no line, but"
        return f"{what} {type(error).__name__} ({short(error)}) at {place(error)}"
    if line is not None and ("models.m" not in line or not line.isprintable() or len(line) > LONGEST):
        return f"the line {line!r}"
    return None


def place(error: BaseException) -> str:
    """Where in the package or in this test an error went through last."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/ptqbench/" in frame.filename or frame.filename == __file__]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in own[:-4:-1])


@pytest.mark.timeout(0 if SOAK else 600)
@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.name)
def test_a_damaged_folder_is_one_line_or_works(root: Path, model: Path) -> None:
    found = []
    for seed in range(count(USUAL, EACH)):
        copied(model, root / "model")
        what = damaged(root / "model", random.Random(f"{model.name} {seed}"))
        if wrong := problem(root):
            found.append(f"{seed}, {what}: {wrong}")
    assert not found, "\n".join(found)
