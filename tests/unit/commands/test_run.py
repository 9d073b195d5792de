"""The config of a run is written, written again, and left alone once somebody edited it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from ptqbench import engine
from ptqbench.commands.run import write
from ptqbench.errors import UserError
from ptqbench.place import home


def test_a_config_is_replaced_only_as_it_was_written(tmp_path: Path) -> None:
    folder = tmp_path / "a new folder/run"
    file = write(folder, "models: {}\n")
    write(folder, "models: {a: {path: b}}\n")
    assert file.read_text().startswith("models: {a: {path: b}}\n# unedited: ")
    file.write_text(file.read_text().replace("path: b", "path: c"))
    with pytest.raises(UserError, match="was edited"):
        write(folder, "models: {}\n")
    assert "path: c" in file.read_text()


def test_a_config_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("models: {}\n")
    with pytest.raises(UserError, match="was edited"):
        write(tmp_path, "models: {}\n")


def test_the_command_that_is_shown_is_the_one_that_runs(tmp_path: Path) -> None:
    given = engine.arguments(tmp_path / "it's a folder", "2", dry=True)
    assert shlex.split(engine.shown(given)) == ["snakemake", *given]
    assert given[given.index("--directory") + 1] == str(tmp_path / "it's a folder")
    for option in ("--snakefile", "--workflow-profile"):
        assert Path(given[given.index(option) + 1]).exists()
    assert (home() / "workflow/schemas/config.schema.yaml").is_file()
