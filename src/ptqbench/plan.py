"""From the config to the cells, and every check that needs no work: names, shapes, files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ptqbench import spec
from ptqbench.config import check
from ptqbench.errors import UserError, did_you_mean
from ptqbench.manifest import withdraw_damaged
from ptqbench.members import declared
from ptqbench.models.adapter import adapter_name, load_adapter
from ptqbench.models.headers import read_config, read_headers, sampled_digests
from ptqbench.recipe import normalize

TEXT_SUFFIXES = (".txt", ".jsonl", ".parquet")
COMPRESSED_SUFFIXES = (".zst", ".xz", ".gz", ".bz2")


class Cell(NamedTuple):
    """One (model, calibration set, method, scheme); its path in every stage's folder."""

    model: str
    calibration: str
    method: str
    scheme: str

    @property
    def path(self) -> str:
        """``model/calibration/method/scheme``."""
        return "/".join(self)


@dataclass
class Plan:
    """What a config asks for. Raises :class:`UserError` for anything that could only fail later."""

    config: dict[str, Any]
    root: Path = Path(".")
    evaluations: list[tuple[Cell, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        check(self.config, self.root / "workflow/schemas/config.schema.yaml")
        for name, method in self.config["methods"].items():
            normalize(name, method)
        for name, suite in self.config["suites"].items():
            self._check_suite(name, suite)
        self.evaluations = self._expand()
        for calibration in sorted({cell.calibration for cell in self.cells} - {spec.NO_CALIBRATION}):
            corpus = self.config["calibration"][calibration]["corpus"]
            check_corpus(corpus, f"calibration.{calibration}.corpus", self.root)
        self.shapes = {model: self._shapes(model) for model in self.models}
        for cell in self.cells:
            self._check_groups(cell)

    @property
    def cells(self) -> list[Cell]:
        """Every cell once, in the order of the grid; each model's float baseline comes first."""
        return list(dict.fromkeys(cell for cell, _ in self.evaluations))

    @property
    def models(self) -> list[str]:
        """The models that the grid uses."""
        return list(dict.fromkeys(cell.model for cell in self.cells))

    def digests(self, model: str) -> dict[str, str]:
        """Sampled digests of a local model's files, so that retrained weights are noticed; none for the hub's."""
        path = self.config["models"][model].get("path")
        return sampled_digests(self.root / path) if path else {}

    def damaged(self, results: Path) -> list[str]:
        """Withdraw artifacts whose files are missing or of the wrong size; one line for each."""
        return [line for manifest in sorted(results.glob("**/manifest.json")) if (line := withdraw_damaged(manifest))]

    def _expand(self) -> list[tuple[Cell, str]]:
        found: dict[tuple[Cell, str], None] = {}
        for index, block in enumerate(self.config["grid"]):
            calibrations = block.get("calibration", list(self.config["calibration"]))
            chosen = {**block, "calibration": calibrations}
            for section, names in chosen.items():
                self._check_names(section, names, f"grid.{index}.{section}")
            for model in block["models"]:
                baseline = Cell(model, spec.NO_CALIBRATION, spec.FLOAT_METHOD, spec.FLOAT_SCHEME)
                cells = [baseline] + [
                    Cell(model, calibration, method, scheme)
                    for calibration in calibrations
                    for method in block["methods"]
                    for scheme in block["schemes"]
                ]
                found |= dict.fromkeys((cell, suite) for cell in cells for suite in block["suites"])
        return list(found)

    def _check_names(self, section: str, names: list[str], where: str) -> None:
        for name in names:
            if name not in self.config[section]:
                raise UserError(f"config: {where} names '{name}'{did_you_mean(name, self.config[section])}")

    def _check_suite(self, name: str, suite: dict[str, Any]) -> None:
        where = f"suites.{name}"
        traits = declared("evaluation", suite["kind"], f"{where}.kind")
        for key in traits["REQUIRED"]:
            if key not in suite:
                raise UserError(f"config: {where} lacks the key '{key}', which kind '{suite['kind']}' needs: add it")
        for key in set(suite) - {"kind", *traits["REQUIRED"], *traits["OPTIONAL"]}:
            raise UserError(f"config: {where}.{key} means nothing to kind '{suite['kind']}': remove it")
        for corpus_name, corpus in suite.get("corpora", {}).items():
            check_corpus(corpus, f"{where}.corpora.{corpus_name}", self.root)
        if "path" in suite and not (self.root / suite["path"]).is_dir():
            raise UserError(f"config: {where}.path: there is no folder {suite['path']}")

    def _shapes(self, model: str) -> dict[str, tuple[int, ...]] | None:
        """Shapes of the linears to quantize, by checkpoint name; None while the hub's files are not here."""
        entry = self.config["models"][model]
        if "path" not in entry:
            return None
        folder, where = self.root / entry["path"], f"config: models.{model}.path"
        settings = read_config(folder, where)
        adapter_name(settings, where)
        adapter = load_adapter(settings, where)
        headers = read_headers(folder, where)
        found = {}
        for block in range(adapter.n_blocks(settings)):
            for site in adapter.sites(settings, block):
                for linear in site.linears:
                    name = f"{adapter.prefix(block)}{linear}.weight"
                    if name not in headers:
                        raise UserError(f"{where}: {folder} lacks the tensor {name}: fetch the model again")
                    found[name] = headers[name].shape
        return found

    def _check_groups(self, cell: Cell) -> None:
        group = self.config["schemes"].get(cell.scheme, {}).get("group_size", -1)
        for name, shape in (self.shapes[cell.model] or {}).items():
            if group > 0 and shape[1] % group:
                raise UserError(
                    f"config: schemes.{cell.scheme}.group_size is {group}, which does not divide the {shape[1]} input "
                    f"channels of {name} in model '{cell.model}': choose a divisor of {shape[1]}, or -1"
                )


def check_corpus(corpus: str, where: str, root: Path) -> None:
    """A local file must exist and have a readable format; a name must be one of the known corpora."""
    path = Path(corpus)
    suffixes = [suffix for suffix in path.suffixes if suffix in TEXT_SUFFIXES + COMPRESSED_SUFFIXES]
    if not suffixes and "/" not in corpus:
        from ptqbench.data.hub import CORPORA

        if corpus not in CORPORA:
            raise UserError(f"config: {where} is '{corpus}'{did_you_mean(corpus, CORPORA)}, or the path of a text file")
        return
    if not (root / path).is_file():
        raise UserError(f"config: {where}: there is no file {corpus}")
    if not any(suffix in TEXT_SUFFIXES for suffix in suffixes):
        raise UserError(f"config: {where}: {corpus} is not one of {', '.join(TEXT_SUFFIXES)}: convert it")
