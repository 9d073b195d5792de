"""The model card that travels with an embedded model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

CARD = """---
license: apache-2.0
language: en
tags: [ptqbench, quantization-test-model]
---

# {name}

A small model to try quantization methods on, trained by `python -m ptqbench.pocket` from the recipe below.
It knows {knows} and nothing else: use it to compare methods, not to answer questions.

| held-out | score |
|---|---|
{scores}

## Data

{data}

Files: {files}. {stream} distinct tokens; {tokens} tokens seen in {steps} steps.

## Recipe

Trained in {seconds:.0f} s on {device} with torch {torch}; last smoothed loss {loss:.3f} nats per token.

```yaml
{recipe}```

## Licence

Weights: Apache-2.0. The training text keeps its own licences, named above.
"""


def write_card(
    folder: Path,
    recipe: dict[str, Any],
    files: Sequence[str],
    outcome: dict[str, Any],
    scores: dict[str, float],
    accuracies: dict[str, float] | None = None,
) -> None:
    """Write ``README.md`` and ``recipe.yaml`` into the model's folder."""
    shown = {key: value for key, value in recipe.items() if key not in ("name", "provenance")}
    rows = [f"| {name} | {value:.4f} bits per byte |" for name, value in scores.items()]
    rows += [f"| {name} | {value:.2%} right |" for name, value in (accuracies or {}).items()]
    text = CARD.format(
        name=recipe["name"],
        data=recipe["provenance"],
        files=", ".join(f"`{name}`" for name in files),
        scores="\n".join(rows),
        knows="some English, and how to answer simple questions about simple images" if accuracies else "some English",
        recipe=yaml.safe_dump(shown, sort_keys=False),
        **outcome,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
