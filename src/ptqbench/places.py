"""Where models and checkpoints lie: nothing that is stored depends on where the working directory stands.

A record says what lies beside it by the path from its own folder, and a local model by the path that the config has.
Paths are joined by their text: ``..`` behind a linked folder leads back to where the link stands.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from ptqbench.records import Model, Packed

SNAPSHOT, CHECKPOINT = "snapshot", "checkpoint"


def check_folders(*folders: Path) -> None:
    """Raise :class:`OSError` for a folder to write into that is none, or is not this user's to write."""
    for folder in folders:
        if os.path.lexists(folder):
            number = errno.EACCES if folder.is_dir() else errno.ENOTDIR
            if number == errno.ENOTDIR or not os.access(folder, os.W_OK | os.X_OK):
                raise OSError(number, os.strerror(number), str(folder))


def model_folder(manifest: Path, model: Model) -> Path:
    """The folder of a prepared model: a local one as it is, or the snapshot beside its manifest."""
    return local(model["spec"]) or manifest.parent / SNAPSHOT


def checkpoint_folder(manifest: Path, packed: Packed) -> Path:
    """The folder of an exported checkpoint; the model's own for the float baseline, theirs for one of others."""
    beside = packed["checkpoint"]
    if beside is not None:
        return Path(os.path.normpath(manifest.parent / beside))
    spec = packed["spec"]
    return Path(spec.get("checkpoint", spec["model"])["path"])


def stored(folder: Path, manifest: Path, model: dict[str, Any]) -> str | None:
    """How a manifest names a checkpoint's ``folder``; None for a local model's own."""
    return None if folder == local(model) else os.path.relpath(folder, manifest.parent)


def local(model: dict[str, Any]) -> Path | None:
    """The folder that a model's line names; None for one of the hub."""
    return Path(model["path"]) if "path" in model else None


def texts(settings: dict[str, Any]) -> list[str]:
    """The texts, questions and task files that a calibration set or a suite names; ids of the hub among them."""
    questions = settings.get("questions", {})
    named = [settings["corpus"]] if "corpus" in settings else []
    named += settings.get("corpora", {}).values()
    named += questions.values() if isinstance(questions, dict) else [questions]
    folders = [Path(settings[key]) for key in ("path", "data") if key in settings]
    return named + [str(file) for folder in folders for file in folder.rglob("*")]
