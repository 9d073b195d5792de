"""The docs are whole: every page begins with its title, links lead somewhere, and commands are ones that there are."""

from __future__ import annotations

import os
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
import report_data

from ptqbench.__main__ import VERBS, main, parser

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("reports/*/*.md")]
)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#([^)\s]+))?\)")


def anchor(heading: str) -> str:
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_begins_with_its_title_and_its_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.match(r"#+ \w", text), "a page without its head"
    for target, part in LINK.findall(text):
        if "://" in target:
            continue
        found = page.parent / target
        assert found.exists(), target
        if part:
            headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert part in map(anchor, headings), f"{target}#{part}"


FENCE = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
VERB = re.compile(r"(?:PYTHONPATH=src )?(?:python -m )?ptqbench (?=[a-z])")
# what a trailing comment says where no test runs a line
MARK = re.compile(r"\b(needs (the hub|a GPU|a cluster|the network|the wheels)|minutes)\b")
PLACES = {
    "FOLDER": "reports",
    "before": "reports",
    "wikitext2": "wiki",
    "pocket-llama": "plain",
    "reports/structures": "reports",
    "reports/structures/h200": "reports",
}
MODELS = ("/data/my-model", "PATH_OR_HUB_ID")
RUN = ("recommend", "compare", "page", "init", "models", "methods", "describe", "estimate")
# lines of shell blocks that other tests run, and those that are nothing but the shell's
ELSEWHERE = {
    "python -m pytest tests/unit/methods/rounding/test_quantease.py tests/unit/methods/rounding/test_adaround.py": (
        "tests/unit/test_new_method.py"
    ),
    "source .venv/bin/activate": "Makefile",
    "cp -r reports before": "docs/new-method.md",
}


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]


def block_lines() -> list[tuple[str, str, str]]:
    """Every line of a shell block: page, command, trailing comment."""
    lines = [
        (page.name, *line.partition(" #")[::2])
        for page in pages()
        for block in FENCE.findall(page.read_text(encoding="utf-8"))
        for line in block.replace("\\\n", " ").splitlines()
        if line.strip()
    ]
    return [(page, command.strip(), comment.strip()) for page, command, comment in lines]


def commands() -> list[tuple[str, str]]:
    """Every line of a shell block, and every inline call of the command, with its page."""
    found = [(page, command) for page, command, _ in block_lines()]
    for page in pages():
        text = page.read_text(encoding="utf-8")
        inline = re.findall(r"`((?:PYTHONPATH=src )?(?:python|snakemake|make|ptqbench) [^`…]+)`", text)
        found += [(page.name, line) for line in inline]
    return list(dict.fromkeys(one for one in found if "…" not in one[1]))


@pytest.mark.parametrize(("page", "command"), commands())
def test_a_command_is_one_that_there_is(page: str, command: str) -> None:
    words = [word for word in shlex.split(command) if not re.match(r"^[A-Z_]+=", word)]
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+(?: [\w-]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(" ".join(targets).split()), command
    if words[0] == "python" and words[1] != "-m":
        assert (ROOT / words[1]).is_file(), command
    if VERB.match(command):
        assert arguments_of(command)[0] in VERBS, command
    for option, value in pairwise(words):
        if option in ("--configfile", "--requirement"):
            assert (ROOT / value).is_file(), command
        if option == "--workflow-profile":
            assert (ROOT / value.removeprefix("CHECKOUT/") / "profile.yaml").is_file(), command


@pytest.mark.parametrize(("page", "command", "comment"), block_lines())
def test_a_command_of_a_block_is_run_by_a_test_or_says_what_it_needs(page: str, command: str, comment: str) -> None:
    """A mark is for what no test can run; whoever follows a page knows then what a line asks of the machine."""
    if MARK.search(comment):
        if VERB.match(command):
            parser().parse_args(arguments_of(command))
        return
    if command in ELSEWHERE:
        assert (ROOT / ELSEWHERE[command]).is_file()
        return
    assert VERB.match(command), f"{page}: no test runs '{command}', and no comment says what it needs"
    assert arguments_of(command)[0] in RUN, f"{page}: no test runs '{command}', and no comment says what it needs"


def arguments_of(command: str) -> list[str]:
    """The arguments of ``ptqbench``, without where its output goes."""
    return shlex.split(VERB.sub("", command.partition(" > ")[0]))


def runnable() -> list[str]:
    """The commands that a test runs: of shell blocks without a mark, and inline ones that are whole."""
    marked = {command for _, command, comment in block_lines() if MARK.search(comment)}
    found = [command for _, command in commands() if VERB.match(command) and command not in marked]
    return [command for command in dict.fromkeys(found) if arguments_of(command)[0] in RUN]


@pytest.mark.parametrize("command", runnable())
def test_the_program_does_what_the_page_writes(
    command: str, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a made-up report, a tiny model, and the repository's own configs."""
    places = PLACES | dict.fromkeys(MODELS, str(tiny_model))
    arguments = [places.get(word, word) for word in arguments_of(command)]
    if arguments[0] in ("recommend", "compare", "page"):
        (tmp_path / "reports").mkdir()
        for name, table in report_data.tables().items():
            table.write_parquet(tmp_path / f"reports/{name}.parquet")
    for name in ("config.yaml", "workflow", "resources"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.setenv("PTQBENCH_RATES", os.devnull)
    monkeypatch.chdir(tmp_path)
    main(arguments)
    assert capsys.readouterr().out


def test_every_verb_that_needs_no_hub_and_no_minutes_is_run_somewhere() -> None:
    assert {arguments_of(command)[0] for command in runnable()} == set(RUN)
    assert set(VERBS) - set(RUN) == {"run", "pin", "card", "dequantize"}
