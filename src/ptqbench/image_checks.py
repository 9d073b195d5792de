"""Checks of what is calibrated on images, or sees them through a quantized tower, before any work.

Each ``check_…`` raises :class:`UserError` for what is not so as its docstring says.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ptqbench.data.images import read_items
from ptqbench.data.pairs import SUFFIXES, TRAIN_SPLITS, choose, first_seen, is_file
from ptqbench.errors import UserError, about, did_you_mean
from ptqbench.models.adapter import load_adapter
from ptqbench.models.headers import read_config

Config = dict[str, Any]


def check_pairs(name: str, settings: dict[str, Any], root: Path) -> None:
    """The questions of a calibration set are a local file with enough images, or a set with a train split."""
    where, source = f"config: calibration.{name}.questions", settings["questions"]
    if not is_file(source):
        if source not in TRAIN_SPLITS:
            known = did_you_mean(source, TRAIN_SPLITS)
            raise UserError(f"{where} is '{source}', no {' or '.join(SUFFIXES)} file and no set to train on{known}")
        return
    if not (root / source).is_file():
        raise UserError(f"{where} is '{source}', and there is no such file: correct the path")
    with about(f"{where} is '{source}'"):
        choose(str(root / source), settings["samples"], settings.get("seed", 0))


def check_sight(config: Config, cell: tuple[str, ...], folder: Path | None) -> None:
    """A model that is calibrated on images, or whose tower is quantized, sees; a tower is calibrated on images.

    ``folder`` is the model's, where that is local.
    """
    model, calibration, method, scheme = cell
    where, line = f"config: models.{model}", config["models"][model]
    shown = "questions" in config["calibration"][calibration]
    tower = line.get("vision_tower", False)
    sees = folder is not None and _sees(folder, f"{where}.path")
    if folder is not None and (shown or tower) and not sees:
        if tower:
            raise UserError(f"{where}.vision_tower is true, and the model has no vision tower: remove the key")
        raise UserError(
            f"config: calibration.{calibration} asks questions about images, and model '{model}' reads text alone: "
            "name a calibration set with a corpus in the model's grid entry"
        )
    if tower and not shown:
        raise UserError(
            f"{where}.vision_tower is true, and calibration.{calibration} is text, which never reaches the tower: "
            "name a calibration set with questions in the model's grid entry"
        )
    activations = config["methods"][method].get("activations", "none")
    if tower and activations != "none":
        raise UserError(
            f"{where}.vision_tower is true, and method '{method}' has {activations} activations: the tower is exported "
            "dequantized, which would run them in float: remove the key or the method"
        )
    if (sees or shown) and config["schemes"][scheme].get("bits") == "mixed":
        raise UserError(
            f"config: schemes.{scheme}.bits is 'mixed', which is chosen for models of text alone, and model '{model}' "
            "sees images: give it a scheme of one width"
        )


def _sees(folder: Path, where: str) -> bool:
    return load_adapter(read_config(folder, where), where).tower is not None


def check_diagnosed(config: Config, cell: tuple[str, ...], folder: Path | None) -> None:
    """Diagnosis runs a model of text."""
    where = f"config: models.{cell[0]}"
    sees = folder is not None and _sees(folder, f"{where}.path")
    if sees or "questions" in config["calibration"][cell[1]]:
        raise UserError(
            f"config: a grid entry with diagnose: true names model '{cell[0]}', which sees images, and diagnosis is of "
            "models of text alone: remove the key or the model"
        )


def check_held_out(config: Config, pairs: Iterable[tuple[str, str]], root: Path) -> None:
    """No suite asks about an image that the calibration of a cell that it scores has shown the model.

    ``pairs`` are (calibration set, suite). Images are compared byte by byte; of the hub's sets other splits are asked.
    """
    for calibration, suite in pairs:
        shown, asked = config["calibration"][calibration], config["suites"][suite]
        if not is_file(shown.get("questions", "")):
            continue
        chosen = choose(str(root / shown["questions"]), shown["samples"], shown.get("seed", 0))
        for name, source in asked.get("questions", {}).items():
            items = read_items(root / source)[: asked.get("limit")] if is_file(source) else []
            found = first_seen(chosen, items)
            if found is not None:
                remedy = f"set the suite's limit to at most {found}" if found else "calibrate on another file"
                raise UserError(
                    f"config: suites.{suite}.questions.{name} asks about images that calibration.{calibration} has "
                    f"shown the model, from question {found} on: {remedy}"
                )
