"""The reference of the config is what its schema declares."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def made() -> str:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs/reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.page()


def test_it_is_up_to_date() -> None:
    written = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    assert written == made(), "run: python docs/reference.py"


def test_every_key_of_the_default_config_is_in_it() -> None:
    text = made()
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    keys = {key for section in ("models", "calibration", "schemes", "suites") for one in config[section].values()
            for key in one}  # fmt: skip
    keys |= {key for entry in config["grid"] for key in entry}
    assert len(keys) > 12
    assert [key for key in keys if f"| `{key}` |" not in text] == []
    assert "| `gptq` | " not in text, "members are in methods.md"
    assert "whole, 0 to 4,294,967,295" in text
