"""What the package needs, from the files in ``envs`` that pin it for every other way to install."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

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
