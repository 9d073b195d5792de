"""A model card: the hub's head, what is recovered with its interval, the commands, and the source's licence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import report_data
import yaml

from ptqbench import sealed
from ptqbench.__main__ import main
from ptqbench.records import Model
from ptqbench.reporting.model_card import UNKNOWN, licence

CELL = "plain/c/gptq/w3"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A report in the folder of its run, whose model has a card of its own."""
    folder = tmp_path / "reports"
    folder.mkdir()
    for name, table in report_data.tables().items():
        table.write_parquet(folder / f"{name}.parquet")
    source = tmp_path / "results/models/plain/snapshot"
    source.mkdir(parents=True)
    (source / "README.md").write_text("---\nlicense: apache-2.0\nlanguage: en\n---\n\n# plain\n")
    manifest = tmp_path / "results/models/plain/manifest.json"
    spec = {"name": "plain", "hub": "owner/plain", "revision": 40 * "a"}
    made = {"spec": spec, **{key: {} for key in ("code", "versions", "inputs", "sources", "files")}}
    sealed.write(manifest, {**made, "adapter": "llama", "model_type": "llama", "n_blocks": 1, "weight_bytes": 1}, Model)
    return folder


def test_the_card_says_what_it_is_and_what_it_recovers(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["card", CELL, "--report", str(report)])
    text = capsys.readouterr().out
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == "apache-2.0"
    assert head["base_model"] == "owner/plain"
    assert f"- cell: `{CELL}`" in text
    assert "vllm serve THIS_FOLDER" in text
    assert f"at commit {40 * 'a'}" in text
    scores = report_data.tables()["scores"]
    model, calibration, method, scheme = CELL.split("/")
    rows = [
        row
        for row in scores.iter_rows(named=True)
        if (row["model"], row["calibration"], row["method"], row["scheme"]) == (model, calibration, method, scheme)
    ]
    assert rows
    table = {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines() if line.startswith("| ")}
    for row in rows:
        kept, low, high = map(float, re.findall(r"(-?[\d.]+) (?:to|%)", table[row["score"]]))
        assert kept == pytest.approx(100 - 100 * row["drop"], abs=0.006)
        assert high - low == pytest.approx(2 * 196 * row["drop_stderr"], abs=0.02)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("---\nlicense: llama2\n---\n", "llama2"),
        ("---\nlicense: other\nlicense_name: their-own\n---\n", "their-own"),
        ("---\nlanguage: en\n---\n", UNKNOWN),
        ("---\n- a list\n---\n", UNKNOWN),
        ("---\n{: broken\n---\n", UNKNOWN),
        ("# no head\n", UNKNOWN),
    ],
)
def test_a_licence_is_what_the_source_says(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(text)
    assert licence(tmp_path) == said
    assert licence(tmp_path / "none") == UNKNOWN
