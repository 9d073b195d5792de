"""The data of the page's script."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from ptqbench.reporting.choice import recovered
from ptqbench.reporting.names import anchor
from ptqbench.reporting.overview import kl_text, number
from ptqbench.reporting.recommend import Candidate, Stderrs


def payload(cells: list[Candidate], scores: Sequence[str], stderrs: Stderrs, folder: str = "reports") -> str:
    """The data of the script: candidates, and standard errors of differences by score and the two cells' numbers.

    JSON has no infinity: null stands for it, where a single window leaves everything open.
    """
    index = {cell.id: number for number, cell in enumerate(cells)}
    pairs: dict[str, dict[str, float | None]] = {score: {} for score in scores}
    for (score, a, b), stderr in stderrs.items():
        if a in index and b in index and cells[index[a]].model == cells[index[b]].model:
            first, second = sorted((index[a], index[b]))
            pairs[score][f"{first},{second}"] = _finite(stderr)
    rows = [
        {
            "id": cell.id,
            "anchor": anchor(cell.key),
            "model": cell.model,
            "float": cell.is_float,
            "bytes": cell.bytes,
            "tokens_per_second": cell.tokens_per_second,
            "comparable": cell.comparable,
            "drop": {score: [drop, _finite(high)] for score, (drop, high) in cell.drop.items()},
            "caveats": cell.caveats,
            "serve": cell.serve,
            "method": cell.key[2],
            "scheme": cell.key[3],
            "bits": cell.bits,
            "bits_per_weight": number(cell.bits_per_weight),
            "recovered": {score: recovered(cell, score) for score in cell.drop},
            "kl": kl_text(cell),
            "served": cell.served,
        }
        for cell in cells
    ]
    data = {"cells": rows, "scores": list(scores), "stderrs": pairs, "folder": folder}
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return f'<script type="application/json" id="data">{text.replace("<", chr(92) + "u003c")}</script>\n'


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
