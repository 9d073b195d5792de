"""The part of the config that each artifact depends on: its cache key, passed to its stage as one canonical JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ptqbench.data.hub import revisions
from ptqbench.formats import foreign
from ptqbench.formats.choice import candidates, served
from ptqbench.formats.layout import Layout
from ptqbench.members import members
from ptqbench.normalize import normalize
from ptqbench.recipe import Recipe
from ptqbench.schemes import filled
from ptqbench.seeds import KEY, base, seeded
from ptqbench.seeds import settings as own_settings

Config = dict[str, Any]
BESIDE = ("family", "gpus")  # of a model: nothing that is made of it depends on them
FLOAT_METHOD, FLOAT_SCHEME, NO_CALIBRATION = "float", "float", "none"
THEIR_SCHEME, UNKNOWN = "theirs", "unknown"  # of a checkpoint that somebody else quantized, whose method is its name
FLOAT: dict[str, Any] = {"transform": [], "range": None, "rounding": None, "activations": "none", "propagate": False}
HELD_OUT = {"windows": 16, "length": 256}
WINDOWS = ("corpora", "window", "limit", "batch_size")  # what of a suite the float model's predictions depend on
FLOAT_BITS = {"bits": 16, "group_size": -1, "symmetric": True}


def is_theirs(cell: Sequence[str]) -> bool:
    """Whether a cell is a checkpoint that somebody else quantized."""
    return cell[1] == UNKNOWN


def is_ours(cell: Sequence[str]) -> bool:
    """Whether a cell is quantized here: it is neither the float model nor theirs."""
    return cell[1] not in (NO_CALIBRATION, UNKNOWN)


def statistics() -> list[str]:
    """Every accumulator; one pass fills them all."""
    return sorted(members("statistics"))


def model_spec(config: Config, model: str) -> dict[str, Any]:
    """A model's name and where it comes from."""
    source = {key: value for key, value in config["models"][model].items() if key not in BESIDE}
    return {"name": model, "trust_remote_code": False, **source}


def checkpoint_spec(config: Config, name: str) -> dict[str, Any]:
    """The name of a checkpoint of others, and where it comes from."""
    source = {key: value for key, value in config["checkpoints"][name].items() if key != "of"}
    return {"name": name, "trust_remote_code": False, **source}


def family(config: Config, model: str) -> str:
    """What a model is one size of; its own name where the config does not say. Only the report depends on it."""
    return str(config["models"][model].get("family", model))


def gpus(config: Config, model: str) -> int:
    """The GPUs that evaluate a model together."""
    return int(config["models"][model].get("gpus", 1))


def calibration_spec(config: Config, model: str, calibration: str) -> dict[str, Any]:
    """Tokens of a calibration set, as one model's tokenizer sees it."""
    settings = own_settings(config["calibration"][calibration])
    pin = _pin(config, settings.get("corpus") or settings["questions"])
    return {
        "model": model_spec(config, model),
        "calibration": {"name": calibration, "seed": 0, **settings, **pin},
    }


def statistics_spec(config: Config, model: str, calibration: str) -> dict[str, Any]:
    """Statistics of every input site: all accumulators, in one pass."""
    return {**calibration_spec(config, model, calibration), "statistics": statistics()}


def quantize_spec(config: Config, model: str, calibration: str, method: str, scheme: str) -> dict[str, Any]:
    """One cell; of a checkpoint of others nothing is planned but to load it, as the float model is."""
    if method == FLOAT_METHOD or calibration == UNKNOWN:
        own = {"checkpoint": checkpoint_spec(config, method)} if calibration == UNKNOWN else {}
        return {
            "model": model_spec(config, model),
            "calibration": None,
            "method": {"name": method, **FLOAT},
            "scheme": {"name": scheme, **FLOAT_BITS},
            **own,
        }
    return {
        **calibration_spec(config, model, calibration),
        "method": {"name": method, **recipe(config, calibration, method).as_json()},
        "scheme": {"name": scheme, **_grid(config, scheme)},
    }


def recipe(config: Config, calibration: str, method: str) -> Recipe:
    """A method's recipe in a cell, with the cell's seed if it has one of its own."""
    return seeded(normalize(method, config["methods"][method]), config["calibration"][calibration].get(KEY))


def codes_scheme(config: Config, scheme: str) -> str:
    """The first scheme of the config with the same grid: schemes that differ in their format share their codes."""
    return next(name for name in config["schemes"] if _grid(config, name) == _grid(config, scheme))


def export_spec(
    config: Config, model: str, calibration: str, method: str, scheme: str, model_type: str | None = None
) -> dict[str, Any]:
    """A cell's checkpoint: its codes, and what the choice table decides for a model of the type.

    ``model_type`` is None for a model of the hub that is not here yet: then the rows among which it will decide.
    """
    if method == FLOAT_METHOD or calibration == UNKNOWN:
        found = "float" if method == FLOAT_METHOD else THEIR_SCHEME
        return {**quantize_spec(config, model, calibration, method, scheme), "format": found}
    codes = codes_scheme(config, scheme)
    cell = quantize_spec(config, model, calibration, method, codes)
    layout, asked = Layout.of(cell), format_of(config, scheme)
    rows = candidates(backend_of(config), layout, asked, model_type)
    return {**cell, "scheme": {**cell["scheme"], "name": scheme}, "codes": codes, "format": asked, "rows": rows}


def evaluate_spec(
    config: Config,
    model: str,
    calibration: str,
    method: str,
    scheme: str,
    suite: str,
    model_type: str | None = None,
) -> dict[str, Any]:
    """One suite on one cell's checkpoint; ``backend`` is what runs, which is another than asked for where that one has
    no such model, ``serves`` the formats that it reads, with the server's flags.
    """
    cell = export_spec(config, model, calibration, method, scheme, model_type)
    backend, serves = served(backend_of(config, suite), Layout.of(cell), model_type)
    if method == FLOAT_METHOD:
        serves = {"float": []}
    elif calibration == UNKNOWN:
        serves = {name: [] for name in foreign.formats(backend)}
    settings = pinned(config, suite, config["suites"][suite])
    return {**cell, "suite": settings, "backend": backend, "serves": serves}


def reference_spec(config: Config, model: str, suite: str) -> dict[str, Any]:
    """The float model's predictions on a suite's windows, whatever the cells are and what evaluates them."""
    settings = {key: value for key, value in config["suites"][suite].items() if key in WINDOWS}
    return {"model": model_spec(config, model), "suite": pinned(config, suite, settings)}


def pinned(config: Config, suite: str, settings: dict[str, Any]) -> dict[str, Any]:
    """A suite's settings with its name, and the commits of the hub's sets that it reads."""
    found = pins(config, sources(settings))
    return {"name": suite, **settings, **({"revisions": found} if found else {})}


def has_reference(config: Config, suite: str) -> bool:
    """Whether a suite compares cells with the float model's predictions."""
    return bool(members("evaluation")[config["suites"][suite]["kind"]].get("REFERENCE"))


def sources(suite: dict[str, Any]) -> list[str]:
    """What a suite reads: files, and sets of the hub."""
    return [*suite.get("corpora", {}).values(), *suite.get("questions", {}).values()]


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
        and base(calibration) in block.get("calibration", [base(calibration)])
        and method in block["methods"]
        and scheme in block["schemes"]
        and (corpus := diagnosed(config, block))
    )
    corpus = next(asked)
    held_out = {"corpus": corpus, **_pin(config, corpus), **HELD_OUT}
    return {**quantize_spec(config, model, calibration, method, scheme), "held_out": held_out}


def pins(config: Config, sources: Iterable[str]) -> dict[str, str | None]:
    """The commits of the hub's sets among ``sources``; None for one that nobody has named."""
    return revisions(sources, config.get("revisions", {}))


def backend_of(config: Config, suite: str | None = None) -> str:
    """The backend of a suite, or the one that checkpoints are made for; :func:`runtime.settle` has written it out."""
    own = config["suites"][suite].get("backend") if suite else None
    found: str = own or config.get("backend", "transformers")
    return found


def format_of(config: Config, scheme: str) -> str:
    """The checkpoint format that a scheme, or else the config, asks for."""
    asked: str = config["schemes"][scheme].get("format") or config.get("export", {}).get("format", "auto")
    return asked


def _grid(config: Config, scheme: str) -> dict[str, Any]:
    return filled(config["schemes"][scheme])


def _pin(config: Config, source: str) -> dict[str, str | None]:
    found = pins(config, [source])
    return {"revision": found[source]} if source in found else {}
