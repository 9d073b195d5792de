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


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The build's own file, without hatchling."""
    for name, hook in (("metadata.plugin", "MetadataHookInterface"), ("builders.hooks.plugin", "BuildHookInterface")):
        interface = ModuleType(f"hatchling.{name}.interface")
        setattr(interface, hook, type(hook, (), {"root": str(ROOT)}))
        monkeypatch.setitem(sys.modules, interface.__name__, interface)
        for depth in range(len(name.split(".")) + 1):
            above = ".".join(["hatchling", *name.split(".")[:depth]])
            monkeypatch.setitem(sys.modules, above, ModuleType(above))
    spec = spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    made = module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_dependencies_are_the_pins_of_the_environment(build: ModuleType) -> None:
    metadata: dict = {}
    build.get_metadata_hook()().update(metadata)
    pins = yaml.safe_load((ROOT / "envs/ptqbench.yaml").read_text())["dependencies"][-1]["pip"]
    assert metadata["dependencies"] == pins
    lines = (ROOT / "envs/dev.txt").read_text().splitlines()
    assert metadata["optional-dependencies"]["dev"] == [line for line in lines if line and not line.startswith("#")]
    assert set(metadata) == set(PROJECT["project"]["dynamic"])


def test_a_wheel_holds_all_that_the_workflow_reads(build: ModuleType) -> None:
    assert home() == ROOT
    files = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["files"]
    assert {"Snakefile", "config.yaml", "workflow", "profiles", "envs", "resources/text"} <= set(files)
    hook = build.get_build_hook()()
    hook.config = {"files": files}
    for version, included in (("standard", len(files)), ("editable", 0)):
        data: dict = {"force_include": {}}
        hook.initialize(version, data)
        assert len(data["force_include"]) == included
        assert all(Path(source).exists() for source in data["force_include"])
