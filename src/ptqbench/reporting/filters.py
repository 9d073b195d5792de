"""The form that stays in view: what it is set to is in the address, and filters the whole page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ptqbench.reporting.markup import escape
from ptqbench.reporting.recommend import Candidate


def form(cells: list[Candidate], scores: Sequence[str]) -> str:
    """The filters; without a script the command line does the same."""
    quantized = [cell for cell in cells if not cell.is_float]
    models = dict.fromkeys(cell.model for cell in cells)
    bits = sorted({cell.bits for cell in quantized}, key=lambda text: (text == "mixed", text.zfill(3)))
    speeds = any(cell.tokens_per_second is not None for cell in cells)
    fields = [
        _choice("model", "model", models),
        _choice("method", "method", dict.fromkeys(cell.key[2] for cell in quantized)),
        _choice("bits", "bits", bits),
        _entry("memory", "memory for weights", "24GB"),
        _entry("max_drop", "at most lost", "5, 10, 20%"),
        _entry("tokens_per_second", "tokens/s", "any") if speeds else _unused("tokens_per_second"),
        _choice("task", "score", scores),
        _choice("prefer", "prefer", ["quality", "speed"], "size"),
    ]
    return (
        f'<form id="ask" class="screen" aria-label="filters">{"".join(fields)}'
        '<button type="reset">reset</button><output id="shown"></output></form>'
    )


def _choice(name: str, label: str, options: Iterable[str], default: str = "all") -> str:
    first = f'<option value="">{default}</option>'
    rest = "".join(f'<option value="{escape(one)}">{escape(one)}</option>' for one in options)
    return f'<label>{label}<select name="{name}">{first}{rest}</select></label>'


def _entry(name: str, label: str, placeholder: str) -> str:
    return f'<label>{label}<input name="{name}" size="8" placeholder="{placeholder}"></label>'


def _unused(name: str) -> str:
    return f'<input type="hidden" name="{name}">'
