"""How the package is built: its needs are what ``envs`` pins, and a wheel holds the workflow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface


class Pins(MetadataHookInterface):
    """``dependencies`` are those of ``envs/ptqbench.yaml``, the extra ``dev`` those of ``envs/dev.txt``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in what pyproject.toml calls dynamic."""
        envs = Path(self.root, "envs")
        metadata["dependencies"] = re.findall(r"^ *- (\S+==\S+)$", (envs / "ptqbench.yaml").read_text("utf-8"), re.M)
        metadata["optional-dependencies"] = {
            "dev": re.findall(r"^(\w\S*==\S+)$", (envs / "dev.txt").read_text("utf-8"), re.M)
        }


def get_metadata_hook() -> type[MetadataHookInterface]:
    """What hatchling asks this file for."""
    return Pins


class Workflow(BuildHookInterface):
    """A wheel gets a copy of the workflow (``ptqbench.place``); an editable installation runs the checkout's."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add pyproject.toml's ``files``."""
        if version != "editable":
            copied = {str(Path(self.root, name)): f"ptqbench/home/{name}" for name in self.config["files"]}
            build_data["force_include"].update(copied)


def get_build_hook() -> type[BuildHookInterface]:
    """What hatchling asks this file for."""
    return Workflow
