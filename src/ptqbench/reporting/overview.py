"""The first table of the page: every model in one row; and each model's answer in full."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ptqbench.reporting.answer import doubts, facts, left_out, ranking, reason, size, title
from ptqbench.reporting.choice import LIMITS, choose, nearest, recovered, within, worst
from ptqbench.reporting.markup import cell_link, escape, identifier, short, table
from ptqbench.reporting.recommend import Candidate, Constraints, Recommendation, Stderrs, recommend
from ptqbench.reporting.scores import kind

KEEP = "keep the unquantized model"

Chosen = dict[str, tuple[Constraints, Recommendation, str]]  # by model: held to what, found what, why nothing quantized


def summary_table(models: dict[str, list[Candidate]], n_parameters: dict[str, int], chosen: Chosen, kl_on: str) -> str:
    """A row for each model; a column for KL or speed only where some cell has one."""
    cells = [cell for own in models.values() for cell in own]
    titles = ["model", "deploy", "weights", "recovers (95 %)", "within", "bits/weight", "served by"]
    titles += [f"KL, nats, {kl_on}"] if kl_on else []
    titles += ["tokens/s"] if any(cell.tokens_per_second is not None for cell in cells) else []
    titles += ["unquantized", "parameters"]
    head = "".join(f"<th>{escape(one)}</th>" for one in titles)
    rows = []
    for model, own in models.items():
        base = next((size(cell.bytes) for cell in own if cell.is_float), "")
        held, one, _ = chosen[model]
        row = summary_row(held, one, "tokens/s" in titles, bool(kl_on))
        link = f'<a href="#{section(model)}">{escape(model)}</a>'
        inner = "".join(f"<td>{one}</td>" for one in [link, *row, base, count(n_parameters[model])])
        rows.append(f'<tr data-model="{escape(model)}">{inner}</tr>')
    inner = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    columns = f'data-kl="{escape(kl_on)}" data-speeds="{"yes" if "tokens/s" in titles else ""}"'
    return f'<div class="wide"><table id="summary" class="gt_table" {columns}>{inner}</table></div>'


def chosen_cells(models: dict[str, list[Candidate]], wanted: Constraints, stderrs: Stderrs) -> Chosen:
    """For each model the limit that it is held to, what fits, and why nothing quantized does."""
    found: Chosen = {}
    for model, own in models.items():
        held, one = choose(own, wanted, stderrs)
        found[model] = (held, one, nearest(own, held, stderrs))
    return found


def summary_row(held: Constraints, found: Recommendation, speeds: bool, kls: bool) -> list[str]:
    """Markup of what follows from the choice; the script's ``chosenTexts`` has the same."""
    best = found.best
    if best is None:
        return ["none", "", "", within(held), *[""] * (2 + kls + speeds)]
    name = KEEP if best.is_float else f"{best.key[2]} {best.key[3]}"
    kept = worst(best, found.scores)
    row = [cell_link(best.key, name), size(best.bytes)]
    row.append("" if best.is_float or kept is None else f"{recovered(best, kept)} <small>{escape(kept)}</small>")
    row += [within(held), number(best.bits_per_weight)]
    by, _, form = best.served.partition(": ")
    row.append(f"{escape(by)} <small>{escape(form)}</small>")
    row += [kl_text(best)] if kls else []
    return row + ([rate(best)] if speeds else [])


def rate(cell: Candidate) -> str:
    """Tokens per second, where they were measured."""
    return "" if cell.tokens_per_second is None else f"{cell.tokens_per_second:.0f}"


def kl_text(cell: Candidate) -> str:
    """A divergence with its standard error; ``≥`` where it is a lower bound."""
    if cell.kl is None:
        return ""
    value, stderr, bound = cell.kl
    error = f" ± {short(stderr, 2)}" if math.isfinite(stderr) else ""
    return f"{'≥ ' if bound else ''}{short(value, 3)}{error}"


def answer(own: list[Candidate], held: Constraints, found: Recommendation, missed: str) -> str:
    """What to deploy, how sure that is, and how it is served, as :mod:`ptqbench.reporting.answer` says it."""
    left = "".join(f'<p class="soft">{escape(line)}</p>' for line in left_out(found))
    best = found.best
    if best is None:
        said = f"None: {none(found, held)}."
        return f'<p class="deploy">{escape(said)}</p>{left}'
    lines = [*([missed] if missed else []), *doubts(found, held)]
    serve = f"<pre>{escape(best.serve)}</pre>" if best.serve else ""
    others = f"{len(found.satisfying) - 1} more satisfy this; {ranking(found, held)}."
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return (
        f'<p class="deploy">Within {within(held)}: {cell_link(best.key, title(best))}</p>'
        f"<p>{escape(facts(best, found.scores))}</p><ul>{items}</ul>{serve}"
        f'<p class="soft">{escape(others)}</p>{left}'
    )


def none(found: Recommendation, held: Constraints) -> str:
    """Why nothing fits."""
    if held.max_drop is not None and all(kind(score) == "divergence" for score in held.scores):
        return "a KL is no relative loss that a limit could hold: leave the limit out"
    why = [reason(found.miss, name, held) for name in found.violations] if found.miss else []
    return "; ".join(why) or "no cell has the scores that count"


def limits_table(own: list[Candidate], wanted: Constraints, stderrs: Stderrs, model: str) -> str:
    """What is chosen within each of a few limits."""
    columns: dict[str, list[str]] = {name: [] for name in ("at most lost", "deploy", "weights", "recovers (95 %)")}
    for limit in LIMITS:
        held = Constraints(wanted.scores, max_drop=limit, prefer=wanted.prefer, named=wanted.named)
        found = recommend(own, held, stderrs)
        row = summary_row(held, found, speeds=False, kls=False)
        for name, text in zip(columns, (f"{limit:.0%}", *row[:3]), strict=True):
            columns[name].append(text)
    return table(columns, f"limits-{identifier(model)}")


def section(model: str) -> str:
    """The id of a model's part of the page."""
    return f"model-{identifier(model)}"


def count(n: int) -> str:
    """Parameters as people say them."""
    for power, unit in ((9, "B"), (6, "M")):
        if n >= 10**power:
            return f"{n / 10**power:.3g} {unit}"
    return str(n)


def demonstrations(checkpoints: dict[str, str]) -> list[str]:
    """The models that are embedded in the repository, by the folders of the unquantized ones."""
    return [model for model, folder in checkpoints.items() if f"/{folder}".rpartition("/resources/models/")[1]]


def banner(found: Sequence[str], n_parameters: dict[str, int]) -> str:
    """What demonstration models are good for."""
    if not found:
        return ""
    sizes = sorted(n_parameters[model] for model in found)
    between = count(sizes[0]) if sizes[0] == sizes[-1] else f"{count(sizes[0])} to {count(sizes[-1])}"
    who = found[0] if len(found) == 1 else f"{len(found)} of the {len(n_parameters)} models"
    are = "is a small one that comes" if len(found) == 1 else "are small ones that come"
    return (
        f'<p class="banner" role="note"><strong>Demonstration.</strong> {escape(who)} {are} with ptqbench ({between} '
        "parameters). This shows the machinery and how methods differ, not what your model will lose.</p>"
    )


def number(value: float | None) -> str:
    """Bits per weight, where they are known."""
    return "" if value is None else short(value, 3)
