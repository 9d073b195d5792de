"""The page's script recommends what the command does, on random tables; in node, where there is one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from recommendations import KL, NAMES, constraints, table

from ptqbench.reporting.answer import doubts, facts, left_out, ranking, reason
from ptqbench.reporting.choice import choose, nearest, worst
from ptqbench.reporting.payload import payload
from ptqbench.reporting.recommend import Candidate, Constraints, Stderrs, recommend
from ptqbench.reporting.script import SCRIPT

NODE = shutil.which("node")
CASES = int(os.environ.get("PTQBENCH_SOAK", 300))
PAGE = """
const document = {querySelectorAll: () => [], getElementById: () => null}, location = {hash: ''};
const addEventListener = () => {}, ResizeObserver = null;
"""
ASK = """
const ids = cells => cells.map(cell => cell.id);
const answers = JSON.parse(require('fs').readFileSync(0, 'utf8')).map(({report, wanted}) => {
  report.cells.forEach((cell, index) => cell.index = index);
  const found = recommend(report.cells, wanted, report.stderrs), best = found.satisfying[0];
  const [held, one] = choose(report.cells, wanted, report.stderrs), chosen = one.satisfying[0];
  return {
    held: held.max_drop, chosen: chosen ? chosen.id : null, nearest: nearest(report.cells, held, report.stderrs),
    worst: chosen ? worst(chosen, one.scores) : null, ranking: chosen ? ranking(one, held) : null,
    satisfying: ids(found.satisfying), scores: found.scores, unsure: found.unsure && found.unsure.id,
    miss: found.miss && found.miss.id, margin: found.margin, stderr: found.stderr, left: leftOut(found),
    reasons: Object.keys(found.violations).map(name => reason(found.miss, name, wanted)),
    facts: best ? facts(best, found.scores) : null, doubts: best ? doubts(found, wanted) : [],
  };
});
console.log(JSON.stringify(answers));
"""


def told(cells: list[Candidate], wanted: Constraints, stderrs: Stderrs) -> dict[str, Any]:
    """What the script is to say."""
    found = recommend(cells, wanted, stderrs)
    best, (held, one) = found.best, choose(cells, wanted, stderrs)
    return {
        "held": held.max_drop,
        "chosen": one.best and one.best.id,
        "nearest": nearest(cells, held, stderrs),
        "worst": worst(one.best, one.scores) if one.best else None,
        "ranking": ranking(one, held) if one.best else None,
        "satisfying": [cell.id for cell in found.satisfying],
        "scores": list(found.scores),
        "unsure": found.unsure and found.unsure.id,
        "miss": found.miss and found.miss.id,
        "margin": found.margin,
        "stderr": found.margin_stderr,
        "left": left_out(found),
        "reasons": [reason(found.miss, name, wanted) for name in found.violations] if found.miss else [],
        "facts": facts(best, found.scores) if best else None,
        "doubts": doubts(found, wanted) if best else [],
    }


@pytest.mark.skipif(NODE is None, reason="there is no node on this host")
def test_the_script_says_what_the_command_says(tmp_path: Path) -> None:
    cases, expected = [], []
    for seed in range(CASES):
        cells, stderrs = table(seed, 2 + seed % 25)
        wanted = constraints(seed)
        found = re.search(r">(.*)</script>", payload(cells, (*NAMES, KL), stderrs))
        assert found is not None
        cases.append({"report": json.loads(found[1]), "wanted": wanted.__dict__})
        expected.append(told(cells, wanted, stderrs))
    file = tmp_path / "script.js"
    file.write_text(PAGE + SCRIPT + ASK)
    run = subprocess.run([str(NODE), file], input=json.dumps(cases), capture_output=True, text=True, check=True)
    answers = json.loads(run.stdout)
    assert len(answers) == CASES
    for answer, wanted in zip(answers, expected, strict=True):
        assert answer.pop("margin") == pytest.approx(wanted.pop("margin"), abs=1e-12)
        assert answer == wanted
    assert {bool(answer["satisfying"]) for answer in expected} == {True, False}
    assert {bool(answer["nearest"]) for answer in expected} == {True, False}
