"""Snakemake's own checks, its formatter and its report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from browser import CHROMIUM, chromium
from clone import REPOSITORY, Clone

from ptqbench.formats.choice import table
from ptqbench.plan import Plan

PRESETS = [file.relative_to(REPOSITORY).as_posix() for file in REPOSITORY.glob("workflow/presets/*.yaml")]


def test_lint(blank: Clone, tmp_path: Path) -> None:
    run = blank.copy(tmp_path / "clone").snakemake("--lint")
    assert run.returncode == 0, run.stdout
    assert "Congratulations" in run.stdout


def test_formatting() -> None:
    command = [Path(sys.executable).parent / "snakefmt", "--check", "Snakefile", "workflow"]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


BACKENDS = sorted(table())
PARTS = sorted(REPOSITORY.glob("workflow/presets/paper/*.yaml"))
PINNED = {name: {"hub": f"org/{name}", "revision": "0" * 40} for name in ("mamba-1.4b", "mamba-2.8b")}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("file", ["config.yaml", *sorted(PRESETS)])
def test_configs_of_the_repository_can_be_planned_on_every_host(file: str, backend: str) -> None:
    """Those that name a backend (formats that one alone serves) keep it; what `make real` fetches has a stand-in."""
    config = {"backend": backend} | yaml.safe_load((REPOSITORY / file).read_text())
    for model in config["models"].values():
        if model.get("path", "").startswith("models/"):
            model["path"] = "resources/models/pocket-llama"
    plan = Plan(config, REPOSITORY)
    assert len(plan.cells) > 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("file", PARTS, ids=lambda file: file.stem)
def test_parts_of_the_paper_can_be_planned_beside_its_settings(file: Path, backend: str) -> None:
    config = yaml.safe_load((REPOSITORY / "workflow/presets/paper.yaml").read_text())
    if file.stem == "mamba":
        config["models"] |= PINNED
    for key, part in yaml.safe_load(file.read_text()).items():  # as snakemake does: later files win, lists as a whole
        config[key] = part if key == "grid" else config[key] | part
    cells = Plan(config | {"backend": backend}, REPOSITORY).cells
    assert {cell.model for cell in cells} <= set(config["models"])
    assert len(cells) > 10


def test_the_report_has_captions_and_opens_on_the_page(clone: Clone, tmp_path: Path) -> None:
    run = clone.snakemake("--report", "report.html")
    assert run.returncode == 0, run.stdout
    page = (clone.root / "report.html").read_text()
    for caption in (REPOSITORY / "workflow/report").glob("*.rst"):
        for words in caption.read_text().splitlines()[0].split(", "):
            assert words.split("``")[0] in page, f"{caption.name} is missing"
    if CHROMIUM is not None:
        with chromium(tmp_path / "profile") as tab:
            tab.open(clone.root / "report.html")
            shown = "new Promise(done => setTimeout(() => done(app.state.content + ' ' + app.state.resultPath), 500))"
            assert tab.run(shown) == "html reports/index.html"
