"""What pip installs: the pins of ``envs``, and every file of the workflow that runs without a checkout."""

from __future__ import annotations

import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from ptqbench.place import home

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_dependencies_are_the_pins_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    interface = ModuleType("hatchling.metadata.plugin.interface")
    interface.MetadataHookInterface = type("MetadataHookInterface", (), {"root": str(ROOT)})
    for name in ("hatchling", "hatchling.metadata", "hatchling.metadata.plugin"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    spec = spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    hook = module_from_spec(spec)
    spec.loader.exec_module(hook)
    metadata: dict = {}
    hook.get_metadata_hook()().update(metadata)
    pins = yaml.safe_load((ROOT / "envs/ptqbench.yaml").read_text())["dependencies"][-1]["pip"]
    assert metadata["dependencies"] == pins
    lines = (ROOT / "envs/dev.txt").read_text().splitlines()
    assert metadata["optional-dependencies"]["dev"] == [line for line in lines if line and not line.startswith("#")]
    assert set(metadata) == set(PROJECT["project"]["dynamic"])


def test_what_is_installed_is_there_and_all_that_the_workflow_reads() -> None:
    assert home() == ROOT
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert all((ROOT / source).exists() for source in included)
    assert {target.removeprefix("ptqbench/home/") for target in included.values()} == set(included)
    assert {"Snakefile", "workflow", "profiles", "envs"} <= set(included)
