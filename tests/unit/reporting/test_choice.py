"""What the page shows as chosen; ``test_script.py`` holds the script to the same."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest
import report_data

from ptqbench.__main__ import main
from ptqbench.reporting.choice import choose, command, commands, nearest, recovered
from ptqbench.reporting.recommend import Candidate, Constraints, candidates

SCORE = "ppl wiki@64 (text)"
WANTED = Constraints((SCORE,), prefer="size")


@pytest.fixture(scope="module")
def cells() -> list[Candidate]:
    tables = report_data.tables()
    return [cell for cell in candidates(tables["cells"], tables["scores"], tables["results"]) if cell.model == "plain"]


def test_without_a_limit_the_first_that_a_quantized_cell_holds(cells: list[Candidate]) -> None:
    tables = report_data.tables()
    stderrs = {row[:3]: row[3] for row in tables["pairs"].select("score", "a", "b", "stderr").rows()}
    held, found = choose(cells, WANTED, stderrs)
    assert (held.max_drop, found.best and found.best.id) == (0.05, "plain/c/awq+gptq/w3")
    coarse = [cell for cell in cells if cell.is_float or cell.key[2:] == ("gptq", "w3")]
    assert choose(coarse, WANTED, stderrs)[0].max_drop == 0.1
    assert nearest(coarse, replace(WANTED, max_drop=0.1), stderrs) == ""
    hopeless = [cell for cell in cells if cell.is_float or cell.key[2:] == ("rtn", "w2")]
    held, found = choose(hopeless, WANTED, stderrs)
    assert held.max_drop == 0.2
    assert found.best is not None
    assert found.best.is_float
    assert "the nearest is plain/c/rtn/w2: it loses" in nearest(hopeless, held, stderrs)


def test_what_is_left_is_one_less_the_loss() -> None:
    cell = Candidate("m/c/g/w4", "m", 4, None, {}, {SCORE: (0.02, 0.03), "acc % a": (0.02, float("inf"))})
    assert recovered(cell, SCORE) == "98.0 % (97.0 to 99.0)"
    assert recovered(cell, "acc % a") == "98.0 %, interval unknown"


def test_the_command_is_one_that_runs_and_answers_the_same(
    tmp_path: object, cells: list[Candidate], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, table in report_data.tables().items():
        table.write_parquet(f"{tmp_path}/{name}.parquet")
    words = shlex.split(command(replace(WANTED, max_drop=0.05), str(tmp_path), "plain", SCORE))
    assert words[0] == "ptqbench"
    main(words[1:])
    assert capsys.readouterr().out.startswith("deploy  plain/c/awq+gptq/w3\n")
    main([*words[1:], "--method", "gptq", "--bits", "4"])
    assert capsys.readouterr().out.startswith("deploy  plain/c/gptq/w4\n")
    with pytest.raises(SystemExit, match="--bits is '5': the report has 2, 3, 4"):
        main([*words[1:], "--bits", "5"])


def test_models_with_one_limit_need_one_command() -> None:
    two, five = (replace(WANTED, max_drop=limit) for limit in (0.02, 0.05))
    assert commands([("a", two), ("b", two)], "reports") == "ptqbench recommend --max-drop 2% --prefer size"
    assert commands([("a", two), ("b c", five)], "x y").splitlines() == [
        "ptqbench recommend --report 'x y' --model a --max-drop 2% --prefer size",
        "ptqbench recommend --report 'x y' --model 'b c' --max-drop 5% --prefer size",
    ]
