"""Every composition that the planner accepts is sound: at 8 bits next to nothing is lost, at 4 what the docs say."""

from __future__ import annotations

import copy
import random
import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from compositions import Method, methods, pairwise, refusal
from formats_of_numbers import NAMES
from soak import SOAK
from tiny_models import make_cell, make_model, relative, tokens, write_statistics
from torch import nn
from transformers import AutoModelForCausalLM

from ptqbench.drive.cell import Cell
from ptqbench.drive.site import QuantizedBlock
from ptqbench.errors import LONGEST
from ptqbench.models.skeleton import Skeleton
from ptqbench.normalize import normalize
from ptqbench.numbers.grid import scheme_grid
from ptqbench.schemes import INTEGER, filled


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("compositions")
    path = make_model(folder / "model")
    return path, write_statistics(path, folder / "statistics")


@pytest.fixture(scope="module")
def float_model(model: tuple[Path, Path]) -> nn.Module:
    return AutoModelForCausalLM.from_pretrained(model[0], dtype=torch.float32).eval()


@torch.no_grad()
def quantized(
    model: tuple[Path, Path], method: Method, bits: int, number: str = INTEGER
) -> tuple[Cell, list[QuantizedBlock]]:
    with torch.enable_grad():
        scheme: dict[str, Any] = {"bits": bits, "group_size": 32, "symmetric": False}
        scheme = filled({"number": number} if number != INTEGER else scheme)
        cell = make_cell(*model, method, scheme_grid(scheme, normalize("m", method).as_json()))
    if not cell.recipe.propagate:
        return cell, [block for block, _ in cell.blocks()]
    skeleton = Skeleton(cell.checkpoint, torch.device("cpu"), torch.float32)
    return cell, [block for block, _ in cell.propagated(skeleton, 3)]


@torch.no_grad()
def loss_of_logits(float_model: nn.Module, cell: Cell, blocks: list[QuantizedBlock]) -> float:
    """The relative error of the whole model's logits, which shows transforms that do not undo each other."""
    tensors = dict(cell.outside().tensors)
    for index, block in enumerate(blocks):
        prefix = cell.checkpoint.adapter.prefix(index)
        tensors |= {prefix + name: tensor for name, tensor in block.tensors.items()}
        tensors |= {f"{prefix}{name}.weight": linear.dequantize() for name, linear in block.linears.items()}
    changed = copy.deepcopy(float_model)
    assert not changed.load_state_dict(tensors, strict=False).unexpected_keys
    wanted, found = (one(input_ids=tokens()).logits for one in (float_model, changed))
    return relative(found, wanted)


def test_every_refusal_is_one_line_that_names_the_method(capsys: pytest.CaptureFixture[str]) -> None:
    refusals = [found for method in methods() if (found := refusal(method))]
    assert refusals
    for line in refusals:
        assert line.startswith("config: methods.m.")
        assert len(line) <= LONGEST
        assert "\n" not in line
        assert ": put " in line or ": remove " in line or ": name each only once" in line


def accepted() -> list[Method]:
    """What the planner accepts, without what differs in the activations alone."""
    return [method for method in methods() if method["activations"] == "none" and not refusal(method)]


def has(method: Method, member: str) -> bool:
    return any(member in str(method[stage]) for stage in ("transform", "range", "rounding"))


@pytest.mark.timeout(0 if SOAK else 600)
def test_what_is_accepted_is_sound(model: tuple[Path, Path], float_model: nn.Module) -> None:
    """At 8 bits; nearest rounding alone moves this model's logits by 1.2 %. RMS ranges clip what is not incoherent."""
    chosen = accepted() if SOAK else pairwise(accepted())
    failed: list[tuple[Any, ...]] = []
    for method in chosen:
        cell, blocks = quantized(model, method, 8)
        worst = min(record["snr_db"] for block in blocks for record in block.records)
        error = loss_of_logits(float_model, cell, blocks)
        snr, share = (34, 0.025) if has(method, "rms") else (42, 0.015)
        if not (worst > snr and error < share):
            failed.append((method, worst, error))
    assert not failed


def documented() -> dict[str, float]:
    """By member, and for all others: what a composition may lose at 4 bits, in units of nearest rounding's loss."""
    text = Path(__file__).parents[3].joinpath("docs/methods.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?:with `(\w+)`|all others) \| ([\d.]+) \|$", text, re.MULTILINE)
    return {name: float(limit) for name, limit in rows}


@pytest.mark.timeout(0 if SOAK else 600)
def test_none_loses_more_than_the_docs_say(model: tuple[Path, Path]) -> None:
    chosen = accepted() if SOAK else random.Random(0).sample(pairwise(accepted()), 15)
    limits, failed = documented(), []
    for method in chosen:
        records = [record for block in quantized(model, method, 4)[1] for record in block.records]
        loss, plain = (sum(record[key] for record in records) for key in ("proxy_loss", "nearest_proxy_loss"))
        limit = next((limit for name, limit in limits.items() if name and has(method, name)), limits[""])
        if not loss <= limit * plain:
            failed.append((method, loss / plain))
    assert not failed


def documented_of_floats() -> tuple[dict[str, float], float, float]:
    """By format what the output of each linear stays above, in dB; and the limits with ``magr`` or ``rms``, without."""
    text = Path(__file__).parents[3].joinpath("docs/methods.md").read_text(encoding="utf-8")
    with_them, others = re.findall(r"^\| on floats, .* \| ([\d.]+) \|$", text, re.MULTILINE)
    found = re.search(r"above (\d+) dB with E4M3 \((\d+) with E2M3, (\d+) as NVFP4, (\d+) as MXFP4\)", text)
    assert found
    e4m3, e2m3, nvfp4, mxfp4 = map(float, found.groups())
    floors = {"fp8": e4m3, "fp8_tensor": e4m3, "mxfp8": e4m3, "mxfp6": e2m3, "nvfp4": nvfp4, "mxfp4": mxfp4}
    return floors, float(with_them), float(others)


@pytest.mark.timeout(0 if SOAK else 600)
def test_every_member_runs_on_every_format_of_floats(model: tuple[Path, Path], float_model: nn.Module) -> None:
    """Blocks of 128 output channels are more than this model has; what they share rows for, ``fp8_tensor`` does too."""
    floors, with_them, others = documented_of_floats()
    assert set(floors) == set(NAMES) - {"fp8_block"}
    chosen, failed = pairwise(accepted()), []
    drawn = random.Random(1).sample(chosen, 24)
    cases = product(chosen, floors) if SOAK else zip(drawn, 4 * list(floors), strict=True)
    for method, number in cases:
        cell, blocks = quantized(model, method, 0, number)
        records = [record for block in blocks for record in block.records]
        loss, plain = (sum(record[key] for record in records) for key in ("proxy_loss", "nearest_proxy_loss"))
        limit = with_them if has(method, "rms") or has(method, "magr") else others
        worst = min(record["snr_db"] for record in records)
        share = loss_of_logits(float_model, cell, blocks)
        if not (loss <= limit * plain and worst > floors[number] and share < 0.35):
            failed.append((method, number, loss / plain, worst, share))
    assert not failed
