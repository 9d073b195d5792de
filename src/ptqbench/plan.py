"""From the config to the cells and their artifacts, with every check that needs no work."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from ptqbench import seeds, spec
from ptqbench.cells import Cell
from ptqbench.checks import (
    check_calibration,
    check_composition,
    check_mixed,
    check_revisions,
    check_scatter,
    check_suite,
    check_windows,
    is_hub_name,
)
from ptqbench.config import check
from ptqbench.digests import digests
from ptqbench.errors import UserError, did_you_mean
from ptqbench.foreign_checks import check_named, check_theirs
from ptqbench.image_checks import check_diagnosed, check_held_out, check_pairs, check_sight
from ptqbench.manifest import NAME, load, withdraw_damaged
from ptqbench.model_checks import check_context, check_groups, read_shapes
from ptqbench.models.adapter import adapter_name
from ptqbench.models.files import model_files
from ptqbench.models.headers import model_type, read_config
from ptqbench.normalize import normalize
from ptqbench.records import Codes, Diagnosis, Model, Packed, Planned, Reference, Result, Statistics, Tokens
from ptqbench.schemes import check_scheme, filled
from ptqbench.sealed import withdrawn
from ptqbench.serving_checks import check_serving


@dataclass
class Plan:
    """What a config asks for. Raises :class:`UserError` for anything that could only fail later.

    The config's paths begin at ``root``; the files of the ``workflow`` may be elsewhere. ``state`` is the folder that
    remembers the digests of files, if there is one.
    """

    config: dict[str, Any]
    root: Path = Path(".")
    state: Path | None = None
    evaluations: list[tuple[Cell, str]] = field(default_factory=list)
    workflow: Path | None = None

    def __post_init__(self) -> None:
        check(self.config, (self.workflow or self.root) / "workflow/schemas/config.schema.yaml")
        for name, method in self.config["methods"].items():
            normalize(name, method)
        for name, scheme in self.config["schemes"].items():
            check_scheme(name, scheme)
        for name, suite in self.config["suites"].items():
            check_suite(name, suite, self.root)
        check_named(self.config)
        self.config = seeds.expanded(self.config)
        self.evaluations = self._expand()
        for cell in filter(spec.is_ours, self.cells):
            check_scatter(self.config.get("scatter", 1), cell, self.config)
        self._check_files()

    @property
    def cells(self) -> list[Cell]:
        """Every cell once, in the order of the grid; each model's float baseline comes first, then others' of it."""
        return list(dict.fromkeys(cell for cell, _ in self.evaluations))

    def theirs(self, model: str) -> list[Cell]:
        """The checkpoints that others made of a model."""
        lines = self.config.get("checkpoints", {})
        return [Cell(model, spec.UNKNOWN, name, spec.THEIR_SCHEME) for name in lines if lines[name]["of"] == model]

    @property
    def diagnosed(self) -> list[Cell]:
        """Quantized cells of grid entries that ask why."""
        found: dict[Cell, None] = {}
        for block in self.config["grid"]:
            if spec.diagnosed(self.config, block):
                found |= dict.fromkeys(self._cells(block))
        return list(found)

    @property
    def references(self) -> list[tuple[str, str]]:
        """Every model with a suite that compares its cells with the float model's predictions."""
        pairs = dict.fromkeys((cell.model, suite) for cell, suite in self.evaluations)
        return [(model, suite) for model, suite in pairs if spec.has_reference(self.config, suite)]

    @property
    def seeds(self) -> dict[Cell, tuple[Cell, int]]:
        """Of every cell of a grid entry with seeds: what stands for all its seeds, and its own."""
        found: dict[Cell, tuple[Cell, int]] = {}
        for block in self.config["grid"]:
            for whole in self._cells({**block, "seeds": []}) if "seeds" in block else ():
                mean = whole._replace(calibration=whole.calibration + seeds.ALL)
                own = {seed: seeds.calibration_of(self.config, *whole[1:3], seed) for seed in block["seeds"]}
                found |= {whole._replace(calibration=name): (mean, seed) for seed, name in own.items()}
        return found

    def codes(self, cell: Cell) -> Cell:
        """The cell whose codes a cell packs: its own, or those of a scheme that differs in the format alone."""
        return cell._replace(scheme=spec.codes_scheme(self.config, cell.scheme))

    def outputs(self, results: Path) -> dict[Path, type]:
        """Every record that the chain writes and reads, in its order, and what it must hold."""
        quantized = [cell for cell in self.cells if spec.is_ours(cell)]
        scatter = self.config.get("scatter", 1)
        parts = [f"/part-{part}-of-{scatter}" for part in range(scatter if scatter > 1 else 0)]
        found: dict[str, type] = {f"models/{cell.model}/{NAME}": Model for cell in self.cells}
        found |= {f"calibration/{cell.model}/{cell.calibration}/{NAME}": Tokens for cell in quantized}
        found |= {f"statistics/{cell.model}/{cell.calibration}/{NAME}": Statistics for cell in quantized}
        found |= {f"diagnosis/{cell.path}/{NAME}": Diagnosis for cell in self.diagnosed}
        found |= {f"quantized/{self.codes(cell).path}{at}/{NAME}": Codes for at in (*parts, "") for cell in quantized}
        found |= {f"packed/{cell.path}/{NAME}": Packed for cell in self.cells}
        found |= {f"reference/{model}/{suite}/{NAME}": Reference for model, suite in self.references}
        found |= {f"eval/{cell.path}/{suite}.json": Result for cell, suite in self.evaluations}
        found["plan.json"] = Planned
        return {results / path: kind for path, kind in found.items()}

    def damaged(self, results: Path) -> list[str]:
        """Withdraw what is damaged (a changed record, a file missing or of the wrong size) and say so, a line each."""
        return [line for output, kind in self.outputs(results).items() if (line := withdraw_damaged(output, kind))]

    def withdrawn(self, results: Path) -> list[Path]:
        """What has to be made anew because it was damaged, needed by a stale cell or not."""
        outputs = self.outputs(results)
        return [output for output in outputs if os.path.lexists(withdrawn(output)) and not output.is_file()]

    def weights(self, model: str) -> dict[str, str]:
        """Digests of a local model's files, so that retrained weights are noticed; none for the hub's."""
        return self._weights("models", model)

    def checkpoint(self, name: str) -> dict[str, str]:
        """The same of a checkpoint that somebody else made."""
        return self._weights("checkpoints", name)

    def _weights(self, section: str, name: str) -> dict[str, str]:
        line = self.config[section][name]
        if "path" not in line:
            return {}
        folder = self.root / line["path"]
        files = model_files(folder, f"config: {section}.{name}.path", line.get("trust_remote_code", False))
        return {file.relative_to(folder).as_posix(): found for file, found in digests(files, self.state).items()}

    def texts(self, calibration: str) -> dict[str, str]:
        """The digest of a calibration set's local file."""
        settings = self.config["calibration"][calibration]
        return self._digests([settings.get("corpus") or settings["questions"]])

    def documents(self, suite: str) -> dict[str, str]:
        """Digests of a suite's local texts and task files."""
        settings = self.config["suites"][suite]
        tasks: list[str] = []
        if "path" in settings:
            folder = self.root / settings["path"]
            files = sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
            tasks = [(Path(settings["path"]) / file).as_posix() for file in files]
        questions = [source for source in settings.get("questions", {}).values() if source.endswith(".parquet")]
        return self._digests([*settings.get("corpora", {}).values(), *questions, *tasks])

    def text(self, corpus: str) -> dict[str, str]:
        """The digest of one local text."""
        return self._digests([corpus])

    def adapter(self, model: str, results: Path) -> str | None:
        """The adapter of a model; None for one of the hub that nothing was made of yet."""
        path = self.config["models"][model].get("path")
        if path:
            return adapter_name(read_config(self.root / path, model), model)
        made: dict[Path, Any] = {results / "models" / model / NAME: Model}
        made |= dict.fromkeys(sorted((results / "statistics" / model).glob(f"*/{NAME}")), Statistics)
        return next((load(manifest, kind)["adapter"] for manifest, kind in made.items() if manifest.is_file()), None)

    def model_type(self, model: str, results: Path) -> str | None:
        """The type in a model's config, by which the choice table decides; None for one of the hub not here yet."""
        path = self.config["models"][model].get("path")
        if path:
            return model_type(self.root / path, model)
        baseline = Cell(model, spec.NO_CALIBRATION, spec.FLOAT_METHOD, spec.FLOAT_SCHEME)
        made: dict[Path, Any] = {results / "models" / model / NAME: Model}
        made[results / "packed" / baseline.path / NAME] = Packed
        return next((load(manifest, kind)["model_type"] for manifest, kind in made.items() if manifest.is_file()), None)

    def _digests(self, names: list[str]) -> dict[str, str]:
        files = {name: self.root / name for name in names if not is_hub_name(name)}
        found = digests(files.values(), self.state)
        return {name: found[file] for name, file in files.items()}

    def _expand(self) -> list[tuple[Cell, str]]:
        found: dict[tuple[Cell, str], None] = {}
        for index, block in enumerate(self.config["grid"]):
            calibrations = block.get("calibration", seeds.named(self.config))
            chosen = {key: names for key, names in block.items() if key not in ("diagnose", "seeds")}
            chosen["calibration"] = calibrations
            for section, names in chosen.items():
                self._check_names(section, names, f"grid.{index}.{section}")
            for model in block["models"]:
                baseline = Cell(model, spec.NO_CALIBRATION, spec.FLOAT_METHOD, spec.FLOAT_SCHEME)
                cells = [baseline, *self.theirs(model), *self._cells({**block, "models": [model]})]
                found |= dict.fromkeys((cell, suite) for cell in cells for suite in block["suites"])
            if block.get("diagnose") and not spec.diagnosed(self.config, block):
                raise UserError(
                    f"config: grid.{index}.diagnose is true, and none of its suites has a corpus to diagnose on: "
                    "add a suite of kind perplexity, or remove the key"
                )
        return list(found)

    def _cells(self, block: dict[str, Any]) -> list[Cell]:
        calibrations = block.get("calibration", seeds.named(self.config))
        whole = [Cell(*names) for names in product(block["models"], calibrations, block["methods"], block["schemes"])]
        return [
            cell._replace(calibration=seeds.calibration_of(self.config, cell.calibration, cell.method, seed))
            for cell in whole
            for seed in block.get("seeds") or [None]
        ]

    def _check_names(self, section: str, names: list[str], where: str) -> None:
        known = seeds.named(self.config) if section == "calibration" else self.config[section]
        for name in names:
            if name not in known:
                raise UserError(f"config: {where} names '{name}'{did_you_mean(name, known)}")

    def _check_files(self) -> None:
        paths = {name: entry["path"] for name, entry in self.config["models"].items() if "path" in entry}
        local = {cell.model: self.root / paths[cell.model] for cell in self.cells if cell.model in paths}
        cells = [cell for cell in self.cells if spec.is_ours(cell)]
        suites = dict.fromkeys(suite for _, suite in self.evaluations)
        check_revisions(self.config, dict.fromkeys(cell.calibration for cell in cells), suites)
        shapes = {model: read_shapes(model, folder, self.config["models"][model]) for model, folder in local.items()}
        for cell in dict.fromkeys(cell._replace(calibration=seeds.base(cell.calibration)) for cell in cells):
            check_sight(self.config, cell, local.get(cell.model))
        for model, method in dict.fromkeys((cell.model, cell.method) for cell in cells if cell.model in local):
            schemes = [cell.scheme for cell in cells if (cell.model, cell.method) == (model, method)]
            check_composition(self.config, method, model, schemes, local[model])
        for model, name in dict.fromkeys((cell.model, cell.scheme) for cell in cells):
            check_groups(name, filled(self.config["schemes"][name]), model, shapes.get(model, {}))
        for method, name in dict.fromkeys((cell.method, cell.scheme) for cell in cells):
            if self.config["schemes"][name].get("bits") == "mixed":
                check_mixed(name, method, normalize(method, self.config["methods"][method]))
        for model, name in dict.fromkeys((cell.model, cell.calibration) for cell in cells):
            settings = self.config["calibration"][name]
            if "questions" in settings:
                check_pairs(seeds.base(name), settings, self.root)
            else:
                length = settings["sequence_length"]
                check_context(f"calibration.{seeds.base(name)}.sequence_length", length, model, local.get(model))
                check_calibration(seeds.base(name), settings, model, local.get(model), self.root)
        for cell in self.diagnosed:
            check_diagnosed(self.config, cell, local.get(cell.model))
        seen = ((cell.calibration, suite) for cell, suite in self.evaluations if spec.is_ours(cell))
        check_held_out(self.config, dict.fromkeys(seen), self.root)
        for model, name in dict.fromkeys((cell.model, suite) for cell, suite in self.evaluations):
            check_context(f"suites.{name}.window", self.config["suites"][name].get("window"), model, local.get(model))
            check_windows(name, self.config["suites"][name], model, local.get(model), self.root)
        check_theirs(self.config, self.evaluations, self.root)
        types = {model: model_type(folder, model) for model, folder in local.items()}
        for cell, suite in self.evaluations:
            check_serving(self.config, cell, suite, types.get(cell.model))
