"""The docs are whole: every page begins with its title, links lead somewhere, and commands are ones that there are."""

from __future__ import annotations

import re
import shlex
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import pytest
import report_data

from ptqbench.__main__ import main

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


VERB = re.compile(r"(?:PYTHONPATH=src )?(?:python -m )?ptqbench (?=recommend|compare|page|pin)")
FENCE = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
PLACES = {
    "FOLDER": "reports",
    "wikitext2": "wiki",
    "pocket-llama": "plain",
    "reports/structures": "reports",
    "reports/structures/h200": "reports",
}


def commands() -> list[tuple[str, str]]:
    """Every line of a shell block, and every inline call of the command, with its page."""
    found = []
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]:
        text = page.read_text(encoding="utf-8")
        blocks = "\n".join(FENCE.findall(text)).replace("\\\n", " ").splitlines()
        inline = re.findall(r"`((?:PYTHONPATH=src )?(?:python|snakemake|make|ptqbench) [^`…]+)`", text)
        found += [(page.name, line.partition("  #")[0].strip()) for line in [*blocks, *inline]]
    return list(dict.fromkeys(one for one in found if one[1] and "…" not in one[1]))


@pytest.mark.parametrize(("page", "command"), commands())
def test_a_command_is_one_that_there_is(page: str, command: str) -> None:
    words = [word for word in shlex.split(command) if not re.match(r"^[A-Z_]+=", word)]
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+(?: [\w-]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(" ".join(targets).split()), command
    if words[0] == "python" and words[1] != "-m":
        assert (ROOT / words[1]).is_file(), command
    for option, value in pairwise(words):
        if option == "--configfile":
            assert (ROOT / value).is_file(), command


@pytest.mark.parametrize("command", [line for _, line in commands() if VERB.match(line)])
def test_the_program_does_what_the_page_writes(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a made-up report; what asks the hub is only parsed."""
    words = shlex.split(VERB.sub("", command))
    arguments = [PLACES.get(word, word) for word in words]
    if arguments[0] == "pin":
        arguments = ["pin", "--help"]
    (tmp_path / "reports").mkdir()
    for name, table in report_data.tables().items():
        table.write_parquet(tmp_path / f"reports/{name}.parquet")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="0") if arguments[0] == "pin" else nullcontext():
        main(arguments)
    assert capsys.readouterr().out
