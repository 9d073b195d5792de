"""The profiles know the rules that there are: what computes on a GPU goes where a cluster has some."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
RULE = re.compile(r"^(?:rule (\w+)|use rule \w+ as (\w+) with):\n((?:    .*\n|\n)*)", re.MULTILINE)


def rules() -> dict[str, str]:
    """The text of every rule."""
    files = sorted(ROOT.glob("workflow/rules/*.smk"))
    return {one or other: body for file in files for one, other, body in RULE.findall(file.read_text(encoding="utf-8"))}


def test_every_rule_that_asks_for_a_gpu_goes_to_the_partition_that_has_them() -> None:
    profile = yaml.safe_load((ROOT / "profiles/slurm/profile.yaml").read_text(encoding="utf-8"))
    partitions = {rule: own["slurm_partition"] for rule, own in profile["set-resources"].items()}
    asking = {rule for rule, body in rules().items() if re.search(r"^        gpu=", body, re.MULTILINE)}
    assert {"statistics", "quantize_part", "evaluate"} <= asking
    assert partitions == dict.fromkeys(asking, "gpu")
    assert set(profile["set-threads"]) <= set(rules())
