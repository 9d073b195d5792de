"""`keep` in a config, through Snakemake: nothing is stale, and a new cell touches no other if statistics are kept."""

from __future__ import annotations

import json

from clone import Clone, config, jobs


def test_codes_that_were_dropped_are_missed_by_nothing(clone: Clone) -> None:
    kept = {**config(), "keep": ["statistics", "packed", "results"]}
    clone.configure(kept)
    results = {file: file.read_bytes() for file in clone.root.glob("results/eval/**/*.json")}
    run = clone.snakemake("--forcerun", "report")
    assert run.returncode == 0, run.stdout
    assert "that `keep` does not name." in run.stdout
    assert not list(clone.root.glob("results/quantized/**/*.safetensors"))
    assert clone.stale() == set()

    kept["methods"]["new"] = {"range": "mse"}
    kept["grid"].append({"models": ["tiny"], "methods": ["new"], "schemes": ["w4g32"], "suites": ["perplexity"]})
    clone.configure(kept)
    run = clone.snakemake()
    assert run.returncode == 0, run.stdout
    assert ("quantize", "tiny/text/new/w4g32") in jobs(run.stdout)
    assert {file: file.read_bytes() for file in results} == results, "no other cell was made anew"
    new = json.loads((clone.root / "results/eval/tiny/text/new/w4g32/perplexity.json").read_text())
    assert new["rows"]
    assert not list(clone.root.glob("results/quantized/**/*.safetensors")), "dropped again"
    assert clone.stale() == set()
