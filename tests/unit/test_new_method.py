"""The worked example of docs/new-method.md, as it is written there: in a copy of the code, with its own tests."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/new-method.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"`((?:src|tests)/[\w/]+\.py)`:\n\n```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
TARGETS = re.findall(r"^snakemake --cores all (results/\S+)", PAGE, re.MULTILINE)

ASKED = """
import json, sys
from pathlib import Path
import compositions, yaml
from ptqbench.__main__ import main
from ptqbench.plan import Plan
from ptqbench.normalize import normalize
main(["methods"])
config = yaml.safe_load(Path("config.yaml").read_text())
added = yaml.safe_load(sys.stdin.read())
plan = Plan({**config, "backend": "transformers", "methods": config["methods"] | added["methods"],
             "grid": added["grid"]}, workflow=Path("."))
composed = [method for method in compositions.methods() if not method["transform"]]
print(json.dumps({
    "strategies": {name: normalize(name, method).strategy for name, method in added["methods"].items()},
    "outputs": [str(path) for path in plan.outputs(Path("results"))],
    "composed": sorted({str(method["rounding"]) for method in composed}),
}))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code and the tests' helpers with the page's files among them."""
    root = tmp_path_factory.mktemp("new_method")
    for folder in ("src", "tests"):  # of the tests what they share
        left_out = shutil.ignore_patterns("unit", "workflow", "gpu", "__pycache__")
        shutil.copytree(ROOT / folder, root / folder, ignore=left_out)
    for name in ("pyproject.toml", "Snakefile", "config.yaml"):  # a checkout is known by its Snakefile
        shutil.copy(ROOT / name, root)
    for name, text in FILES.items():
        assert not (root / name).exists(), f"{name} is there already: the page's example is none"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def run(copy: Path, folder: Path, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(str(copy / name) for name in ("src", "tests"))
    environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_pages_own_tests_pass(copy: Path) -> None:
    (command,) = re.findall(r"^python (-m pytest .*)$", PAGE, re.MULTILINE)
    tests = {name for name in FILES if name.startswith("tests/")}
    assert tests == set(shlex.split(command)[2:])
    passed = re.search(r"(\d+) passed", run(copy, copy, *shlex.split(command), "-p", "no:cacheprovider").stdout)
    assert passed
    assert int(passed[1]) >= sum(text.count("def test_") for text in FILES.values())


def test_the_files_are_as_the_house_writes_them(copy: Path) -> None:
    for command in (["check"], ["format", "--check"]):
        run(copy, copy, "-m", "ruff", *command, "--no-cache", *FILES)


def test_the_planner_the_command_and_the_compositions_know_the_new_members(copy: Path) -> None:
    (added,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    told, _, last = run(copy, ROOT, "-c", ASKED, input=added).stdout.strip().rpartition("\n")
    assert re.search(r"^rounding +quantease +compensation +passes 4$", told, re.MULTILINE)
    assert re.search(r"^rounding +adaround +optimization +iterations 200, ", told, re.MULTILINE)
    found = json.loads(last)
    assert found["strategies"] == {
        "quantease": ["compensation"],
        "quantease+mse": ["compensation"],
        "adaround": ["optimization"],
        "rtn-propagated": [],
    }
    assert {"quantease", "adaround"} <= set(found["composed"])
    assert TARGETS
    assert set(TARGETS) <= set(found["outputs"])
