"""Checks of the config against the files it names, before any work.

Each ``check_…`` raises :class:`UserError` for what is not so as its docstring says.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from ptqbench import spec
from ptqbench.compositions import check_model, lacks, special
from ptqbench.errors import UserError, about, did_you_mean
from ptqbench.members import declared, members
from ptqbench.model_checks import read_tokenizer
from ptqbench.models.adapter import load_adapter
from ptqbench.models.headers import read_config
from ptqbench.models.parts import parts
from ptqbench.normalize import normalize
from ptqbench.recipe import Recipe
from ptqbench.task_checks import check_tasks

TEXT_SUFFIXES = (".txt", ".jsonl", ".parquet")
COMPRESSED_SUFFIXES = (".zst", ".xz", ".gz", ".bz2")
BYTES_PER_TOKEN = 16  # a text with more of them than that has enough tokens, whatever the tokenizer
BEGINNING = 1 << 20  # characters of a text that the plan reads at most


def check_suite(name: str, suite: dict[str, Any], root: Path) -> None:
    """A suite has the keys that its kind takes, and its files are there."""
    where = f"config: suites.{name}"
    traits = declared("evaluation", suite["kind"], f"{where}.kind")
    for key in traits["REQUIRED"]:
        if key not in suite:
            raise UserError(f"{where} lacks the key '{key}', which kind '{suite['kind']}' needs: add it")
    for key in sorted(set(suite) - {"kind", "backend", *traits["REQUIRED"], *traits["OPTIONAL"]}):
        raise UserError(f"{where}.{key} is {suite[key]!r}, which means nothing to kind '{suite['kind']}': remove it")
    for corpus_name, corpus in suite.get("corpora", {}).items():
        check_corpus(corpus, f"{where}.corpora.{corpus_name}", root)
    for set_name, source in suite.get("questions", {}).items():
        check_questions(source, f"{where}.questions.{set_name}", root)
    if "path" in suite and not (root / suite["path"]).is_dir():
        raise UserError(f"{where}.path is '{suite['path']}', and there is no such folder: correct the path")
    if suite["kind"] == "tasks":
        check_tasks(name, suite, root)


def check_composition(config: dict[str, Any], method: str, model: str, schemes: list[str], folder: Path) -> None:
    """A local model has what a method's members need of it, and the format asked for can hold what they make of it."""
    where = f"config: models.{model}.path"
    settings = read_config(folder, where)
    found, recipe = lacks(load_adapter(settings, where), settings), normalize(method, config["methods"][method])
    check_model(recipe, f"config: methods.{method}", model, found)
    for scheme in schemes:
        asked, member = spec.format_of(config, scheme), special(recipe, found)
        if member and asked not in ("auto", "dense"):
            raise UserError(
                f"config: schemes.{scheme} asks for the format '{asked}', which cannot hold what '{member}' of method "
                f"'{method}' makes of model '{model}': use auto or dense, there or in export.format"
            )


def check_questions(source: str, where: str, root: Path) -> None:
    """A local file must exist; a name must be one of the hub's known sets."""
    if source.endswith(".parquet"):
        if not (root / source).is_file():
            raise UserError(f"{where} is '{source}', and there is no such file: correct the path")
        return
    from ptqbench.data.hub_images import QUESTIONS

    if source not in QUESTIONS:
        raise UserError(f"{where} is '{source}', no .parquet file and no known set{did_you_mean(source, QUESTIONS)}")


def check_mixed(name: str, method: str, recipe: Recipe) -> None:
    """Widths are chosen from shared statistics, so a method that propagates cannot have them."""
    if recipe.propagate:
        raise UserError(
            f"config: schemes.{name}.bits is 'mixed', and method '{method}' propagates: give it a scheme of one width"
        )


def check_scatter(parts: int, cell: tuple[str, ...], config: dict[str, Any]) -> None:
    """Jobs that make parts of a cell cannot see each other: nothing may depend on other blocks."""
    if parts == 1 or cell[2] == spec.FLOAT_METHOD:
        return
    where, recipe = f"config: scatter is {parts}", normalize(cell[2], config["methods"][cell[2]])
    if recipe.propagate:
        raise UserError(f"{where}, and method '{cell[2]}' propagates from block to block: remove scatter or the method")
    if not all(trait.get("SCATTERS", True) for trait in recipe.traits):
        raise UserError(f"{where}, and method '{cell[2]}' learns on the whole model: remove scatter or the method")
    if config["schemes"][cell[3]].get("bits") == "mixed":
        raise UserError(f"{where}, and scheme '{cell[3]}' chooses widths for all blocks: remove scatter or the scheme")


def check_corpus(corpus: str, where: str, root: Path) -> None:
    """A local file must exist and have a readable format; a name must be one of the known corpora."""
    if is_hub_name(corpus):
        from ptqbench.data.hub import CORPORA

        if corpus not in CORPORA:
            raise UserError(f"{where} is '{corpus}', no text file and no known corpus{did_you_mean(corpus, CORPORA)}")
        return
    if not (root / corpus).is_file():
        raise UserError(f"{where} is '{corpus}', and there is no such file: correct the path")
    if not any(suffix in TEXT_SUFFIXES for suffix in Path(corpus).suffixes):
        raise UserError(f"{where} is '{corpus}', which is not {', '.join(TEXT_SUFFIXES)} (or compressed): convert it")


def is_hub_name(corpus: str) -> bool:
    """Whether a corpus names a data set of the hub and not a file."""
    known = TEXT_SUFFIXES + COMPRESSED_SUFFIXES
    return "/" not in corpus and not any(suffix in known for suffix in Path(corpus).suffixes)


def check_calibration(name: str, calibration: dict[str, Any], model: str, folder: Path | None, root: Path) -> None:
    """The corpus of a calibration set is known and, as far as files are local, holds one sequence of ``model``."""
    where, corpus = f"config: calibration.{name}.corpus", calibration["corpus"]
    check_corpus(corpus, where, root)
    if not is_hub_name(corpus):
        _check_tokens(corpus, calibration["sequence_length"], model, folder, where, "sequence_length", root)


def check_windows(name: str, suite: dict[str, Any], model: str, folder: Path | None, root: Path) -> None:
    """Every local corpus of a perplexity suite holds one window of ``model``."""
    for corpus_name, corpus in suite.get("corpora", {}).items():
        where = f"config: suites.{name}.corpora.{corpus_name}"
        if not is_hub_name(corpus):
            longest: int = members("evaluation")["perplexity"]["LONGEST_WINDOW"]
            context = _text_config(folder, where).get("max_position_embeddings") or longest if folder else 1
            _check_tokens(corpus, suite.get("window", min(context, longest)), model, folder, where, "window", root)


def _text_config(folder: Path, where: str) -> dict[str, Any]:
    config = read_config(folder, where)
    return load_adapter(config, where).text_config(config)


def _check_tokens(corpus: str, length: int, model: str, folder: Path | None, where: str, key: str, root: Path) -> None:
    """A corpus can be read and holds ``length`` tokens, as far as its beginning tells."""
    from ptqbench.data.corpora import beginning

    with about(f"{where} is '{corpus}'"):
        text, whole = beginning(root / corpus, min(BEGINNING, BYTES_PER_TOKEN * length))
        if whole and not text.strip():
            raise UserError("the corpus is empty: give a text with at least one document")
    tokenizer = _tokenizer(folder) if folder and whole else None
    found = len(tokenizer.encode(text).ids) if tokenizer else length
    if found < length:
        raise UserError(
            f"{where} is '{corpus}', which model '{model}' reads as {found} tokens, fewer than a {key} of {length}: "
            f"give more text, or set {key} to at most {found}"
        )


@lru_cache
def _tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder, where it is one that needs no class of its own."""
    files = [folder / part / "tokenizer.json" for part in ("", *parts(folder))]
    files = [file for file in files if file.is_file()]
    if not files:
        return None
    return read_tokenizer(files[0], str(folder))


def check_revisions(config: dict[str, Any], calibrations: Iterable[str], suites: Iterable[str]) -> None:
    """Every set of the hub that is read has a commit, and every commit is one of a known set."""
    from ptqbench.data.hub import REVISIONS

    for name in config.get("revisions", {}):
        if name not in REVISIONS:
            raise UserError(f"config: revisions names '{name}', no known set of the hub{did_you_mean(name, REVISIONS)}")
    used = [config["calibration"][name] for name in calibrations]
    read = [settings.get("corpus") or settings["questions"] for settings in used]
    read += [source for name in suites for source in spec.sources(config["suites"][name])]
    for name, commit in spec.pins(config, read).items():
        if commit is None:
            raise UserError(
                f"config: '{name}' is read from the hub, and its commit is not known here: add the lines that "
                f"python -m ptqbench pin {name} prints"
            )
