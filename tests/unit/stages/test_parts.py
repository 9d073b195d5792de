"""Parts of a cell, made by jobs of their own, are the cell to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ptqbench import spec
from ptqbench.errors import DamagedArtifact
from ptqbench.manifest import NAME, canonical, load, verify
from ptqbench.stages import quantize
from ptqbench.stages.parts import gather, span

CELL = ("tiny", "text", "gptq", "w3g32")


@pytest.mark.parametrize("parts", [1, 2, 3, 5, 8])
def test_every_block_is_in_one_part(parts: int) -> None:
    spans = [span(part, parts, 5) for part in range(parts)]
    assert [block for own in spans for block in own] == list(range(5))
    assert max(map(len, spans)) - min(map(len, spans)) <= 1


def without_times(content: dict[str, Any]) -> dict[str, Any]:
    layers = [{key: value for key, value in layer.items() if key != "seconds"} for layer in content["layers"]]
    rest = {key: value for key, value in content.items() if key not in ("seconds", "peak_memory_bytes", "inputs")}
    return {**rest, "layers": layers}


@pytest.mark.parametrize("transform", [None, {"rotation": "hadamard"}])
def test_gathered_parts_equal_one_job(chain: Any, transform: Any, tmp_path: Path) -> None:
    method = {"rounding": "gptq", **({"transform": transform} if transform else {})}
    cell = canonical(spec.quantize_spec({**chain.config, "methods": {"gptq": method}}, *CELL))

    def job(out: Path, *others: str) -> Path:
        inputs = ["--model", chain.model, "--calibration", chain.tokens, "--statistics", chain.statistics]
        quantize.main(["--spec", cell, "--out", str(out / NAME), *map(str, inputs), *others])
        return out / NAME

    whole = job(tmp_path / "whole", "--parts")
    parts = [job(tmp_path / f"cell/part-{part}-of-3", "--part", str(part), "3", "--parts") for part in range(3)]
    gathered = job(tmp_path / "cell", "--parts", *map(str, parts))
    assert without_times(verify(gathered)) == without_times(load(whole))
    assert load(gathered)["seconds"] == pytest.approx(sum(load(part)["seconds"] for part in parts))


def test_a_damaged_part_is_named_and_withdrawn(tmp_path: Path, chain: Any) -> None:
    part = tmp_path / "part-0-of-1"
    part.mkdir()
    for file in chain.quantized.parent.iterdir():
        (part / file.name).write_bytes(file.read_bytes())
    damaged = part / "block-000.safetensors"
    damaged.write_bytes(bytes(damaged.stat().st_size))
    with pytest.raises(DamagedArtifact, match=r"part-0-of-1/block-000\.safetensors does not have"):
        gather([part / NAME], tmp_path)
    assert not (part / NAME).exists()
