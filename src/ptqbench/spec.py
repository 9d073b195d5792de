"""The part of the config that each artifact depends on: its cache key, passed to its stage as one canonical JSON."""

from __future__ import annotations

from typing import Any

from ptqbench.members import members
from ptqbench.recipe import FLOAT, normalize

Config = dict[str, Any]
FLOAT_METHOD, FLOAT_SCHEME, NO_CALIBRATION = "float", "bf16", "none"
HELD_OUT = {"windows": 16, "length": 256}
FLOAT_BITS = {"bits": 16, "group_size": -1, "symmetric": True}


def statistics() -> list[str]:
    """Every accumulator; one pass fills them all."""
    return sorted(members("statistics"))


def formats() -> list[str]:
    """Every checkpoint format: the modules of ``formats`` that declare one."""
    return sorted(name for name, traits in members("formats").items() if "FORMAT" in traits)


def model_spec(config: Config, model: str) -> dict[str, Any]:
    """A model's name and where it comes from."""
    return {"name": model, "trust_remote_code": False, **config["models"][model]}


def calibration_spec(config: Config, model: str, calibration: str) -> dict[str, Any]:
    """Tokens of a calibration set, as one model's tokenizer sees it."""
    return {
        "model": model_spec(config, model),
        "calibration": {"name": calibration, "seed": 0, **config["calibration"][calibration]},
    }


def statistics_spec(config: Config, model: str, calibration: str) -> dict[str, Any]:
    """Statistics of every input site: all accumulators, in one pass."""
    return {**calibration_spec(config, model, calibration), "statistics": statistics()}


def quantize_spec(config: Config, model: str, calibration: str, method: str, scheme: str) -> dict[str, Any]:
    """One cell."""
    if method == FLOAT_METHOD:
        return {
            "model": model_spec(config, model),
            "calibration": None,
            "method": {"name": method, **FLOAT},
            "scheme": {"name": scheme, **FLOAT_BITS},
        }
    return {
        **calibration_spec(config, model, calibration),
        "method": {"name": method, **normalize(method, config["methods"][method])},
        "scheme": {"name": scheme, "group_size": -1, "symmetric": False, **config["schemes"][scheme]},
    }


def export_spec(config: Config, model: str, calibration: str, method: str, scheme: str) -> dict[str, Any]:
    """A cell's checkpoint."""
    asked = config.get("export", {}).get("format", "auto")
    return {**quantize_spec(config, model, calibration, method, scheme), "format": asked}


def evaluate_spec(config: Config, model: str, calibration: str, method: str, scheme: str, suite: str) -> dict[str, Any]:
    """One suite on one cell's checkpoint."""
    cell = export_spec(config, model, calibration, method, scheme)
    return {**cell, "suite": {"name": suite, **config["suites"][suite]}}


def diagnosed(config: Config, block: dict[str, Any]) -> str | None:
    """The text that a grid entry's cells are diagnosed on: its first perplexity corpus; None if it asks for none."""
    if not block.get("diagnose"):
        return None
    suites = [config["suites"][suite] for suite in block["suites"]]
    return next((corpus for suite in suites for corpus in suite.get("corpora", {}).values()), None)


def diagnose_spec(config: Config, model: str, calibration: str, method: str, scheme: str) -> dict[str, Any]:
    """Why a cell scores as it does: the cell, and the held-out windows of the first grid entry that asks for it."""
    asked = (
        corpus
        for block in config["grid"]
        if model in block["models"]
        and calibration in block.get("calibration", [calibration])
        and method in block["methods"]
        and scheme in block["schemes"]
        and (corpus := diagnosed(config, block))
    )
    held_out = {"corpus": next(asked), **HELD_OUT}
    return {**quantize_spec(config, model, calibration, method, scheme), "held_out": held_out}
