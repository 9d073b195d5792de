"""The members that a recipe names, as code."""

from __future__ import annotations

import importlib
from functools import partial
from types import ModuleType
from typing import Any

from ptqbench.members import module


def module_of(folder: str, settings: dict[str, Any]) -> ModuleType:
    """The module that a member's settings name."""
    return importlib.import_module(module(folder, settings["name"]))


def member(folder: str, settings: dict[str, Any], function: str) -> Any:
    """A member's function with the recipe's parameters bound."""
    parameters = {key: value for key, value in settings.items() if key != "name"}
    return partial(getattr(module_of(folder, settings), function), **parameters)
