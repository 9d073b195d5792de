"""Every verb: its help, its examples, what it imports, and its mistakes in one line."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ptqbench.__main__ import EXAMPLES, VERBS, main, parser
from ptqbench.reporting.recommend import PREFERENCES

ROOT = Path(__file__).parents[3]
HEAVY = {"torch", "polars", "transformers", "lm_eval", "altair", "snakemake", "pyarrow"}


def help_of(verb: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


def commands(text: str) -> list[list[str]]:
    """The arguments of every example in a help text."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("  ptqbench ")]
    return [shlex.split(line.partition("   ")[0].partition(" > ")[0])[1:] for line in lines]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples_that_are_taken(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(verb, capsys)
    examples = commands(text)
    assert examples
    assert any(example[0] == verb for example in examples)
    for example in examples:
        parser().parse_args(example)


def test_the_first_help_has_examples_and_tells_of_completion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert EXAMPLES.strip() in text
    for example in commands(EXAMPLES):
        parser().parse_args(example)
    assert all(f"    {verb}" in text for verb in VERBS)
    assert (ROOT / "src/ptqbench/__main__.py").read_text().startswith("# PYTHON_ARGCOMPLETE_OK\n")


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = f"""
import contextlib, io, sys
from ptqbench.__main__ import VERBS, main
for arguments in (["--help"], ["methods"], ["models"], *([verb, "--help"] for verb in VERBS)):
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main(arguments)
    heavy = {HEAVY!r} & set(sys.modules)
    assert not heavy, (arguments, heavy)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})


def test_preferences_are_those_of_the_recommendation() -> None:
    for preference in PREFERENCES:
        assert parser().parse_args(["recommend", "--prefer", preference]).prefer == preference


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nowhere at all"], "no folder 'nowhere at all'"),
        (["run", "{folder}"], "it is not a model folder"),
        (["run", "{model}", "--methods", "gtpq"], "did you mean 'gptq'"),
        (["run", "{model}", "--memory", "lots"], "--memory is 'lots'"),
        (["run", "{model}", "--max-drop", "little"], "--max-drop is 'little'"),
        (["init", "{folder}"], "it is not a model folder"),
        (["describe", "{folder}"], "it is not a model folder"),
        (["describe", "{folder}/none"], "there is no folder"),
        (["estimate", "{folder}"], "it is not a model folder"),
        (["card", "a/b/c/d", "--report", "{folder}"], "run snakemake first"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], words: str, tmp_path: Path, tiny_model: Path) -> None:
    given = [text.format(folder=tmp_path, model=tiny_model) for text in arguments]
    if given[0] == "run":
        given += ["--folder", str(tmp_path / "made")]
    with pytest.raises(SystemExit) as stopped:
        main(given)
    text = str(stopped.value)
    assert text.startswith("error: ")
    assert words in text
    assert "\n" not in text
    assert not (tmp_path / "made").exists(), "nothing is made before the mistake is found"


def test_output_that_nobody_reads_is_no_error() -> None:
    run = subprocess.run(
        f"{shlex.quote(sys.executable)} -m ptqbench methods | head -1", shell=True, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, check=True,
    )  # fmt: skip
    assert run.stderr == ""
    assert len(run.stdout.splitlines()) == 1
