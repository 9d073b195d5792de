"""``index.html``: one file, offline. Every model in one row first, then each model's answer and evidence."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from ptqbench.cells import Cell
from ptqbench.reporting.choice import commands
from ptqbench.reporting.family import families
from ptqbench.reporting.family_tables import family_section
from ptqbench.reporting.figures import all_models, svg
from ptqbench.reporting.filters import form
from ptqbench.reporting.headline import unscored
from ptqbench.reporting.kl import divergences, measured_on
from ptqbench.reporting.markup import document, escape, folded
from ptqbench.reporting.model_part import Report, model_part
from ptqbench.reporting.overview import Chosen, banner, chosen_cells, demonstrations, summary_table
from ptqbench.reporting.payload import payload
from ptqbench.reporting.provenance import Origin
from ptqbench.reporting.recommend import Candidate, Constraints, candidates
from ptqbench.reporting.script import SCRIPT
from ptqbench.reporting.style import STYLE
from ptqbench.reporting.tables import KEY
from ptqbench.spec import FLOAT_METHOD, UNKNOWN

CELL = (
    "A <em>cell</em> is one model, quantized by one method at one bit-width and granularity (a scheme such as w4g128: "
    "4 bits, groups of 128) with one calibration set. For each model: the smallest cell that is sure to lose at most 5 "
    "%, or else 10 or 20 %, on every score that counts; set your own limits above."
)
COLUMNS = (
    "Recovers: the share of the float model's score that is left, on the score that may lose most. MB: 10⁶ bytes, GB: "
    "10⁹, of the weights as served; the cache of keys and values comes on top. "
)
KL = "KL: how far the predictions are from the float model's, mean over windows ± standard error; lower is better."
ACROSS = "Bytes against what is comparable over models, all cells whatever the filters; the lines are frontiers."
FAMILY = (
    "Is a larger model at fewer bits better than a smaller one at more? Each line is one model's frontier, over the "
    "bytes of the packed checkpoint. The tables take every cell on the smaller model's frontier, and the best of the "
    "larger one that needs no more bytes; ≈ : the 95 % interval includes no difference."
)
DATA = (
    "The data lie beside this page as parquet and CSV (results, cells, layers, items, scores, pairs, origins), the "
    "figures as SVG and PNG. Perplexity is exp of the mean loss over the windows of a text, whose length in tokens is "
    "behind the @: other windows are another score. An accuracy is the mean over the tasks of a suite. A KL is how far "
    "a cell's predictions are from the float model's, in nats a token (kl≥: at least). A loss is relative to the float "
    "model, and a KL is none; ± is its standard error over windows or documents."
)


def page(
    tables: Mapping[str, pl.DataFrame],
    origins: Mapping[Cell, Origin],
    pages: Mapping[Cell, str],
    folder: str = "reports",
) -> str:
    """The page. ``tables``: results, cells, scores, pairs; ``pages``: addresses of the diagnoses that there are.

    Cells that another stands for, as a mean over seeds, are in ``every_cell`` only. ``folder`` is where the report
    lies, as the command line names it.
    """
    results, cells, scores = tables["results"], tables["cells"], tables["scores"]
    stderrs = {row[:3]: row[3] for row in tables["pairs"].select("score", "a", "b", "stderr").rows()}
    names = scores["score"].unique(maintain_order=True).to_list()
    found = candidates(cells, scores, results)
    models: dict[str, list[Candidate]] = {}
    for cell in found:
        models.setdefault(cell.model, []).append(cell)
    wanted = Constraints(tuple(names), prefer="size", named=False)
    chosen = chosen_cells(models, wanted, stderrs)
    report = Report(tables, stderrs, divergences(results), measured_on(results), origins, pages)
    floats = cells.filter(pl.col("method") == FLOAT_METHOD)
    demos = demonstrations(dict(floats.select("model", "checkpoint").rows()))
    body = [
        f"<h1>Post-training quantization: what to deploy</h1><p>{escape(headline(results))}</p>",
        banner(demos, sizes(cells)),
        form(found, names),
        overview(models, cells, chosen, report.kl_on, folder),
        *(model_part(model, own, chosen[model], report, model in demos) for model, own in models.items()),
        *across(tables, report),
        ending(results),
    ]
    return document("ptqbench report", "\n".join(body), STYLE, SCRIPT, payload(found, names, stderrs, folder))


def headline(results: pl.DataFrame) -> str:
    """What was compared, in one sentence."""
    compared = results.filter(pl.col("method") != FLOAT_METHOD)
    ours = compared.filter(pl.col("calibration") != UNKNOWN)
    counts = [_count(compared["model"].n_unique(), "model")]
    counts += [_count(ours[key].n_unique(), key) for key in ("method", "scheme")]
    if theirs := len(compared.filter(pl.col("calibration") == UNKNOWN).select(KEY).unique()):
        counts.append(f"{_count(theirs, 'checkpoint')} of others")
    return f"{', '.join(counts)}, against the unquantized model."


def overview(models: dict[str, list[Candidate]], cells: pl.DataFrame, chosen: Chosen, kl_on: str, folder: str) -> str:
    """The table of all models, what its words mean, and the command that says the same."""
    said = commands([(model, held) for model, (held, _, _) in chosen.items()], folder)
    return (
        f"<h2 id='answer'>In short</h2><p>{CELL}</p>"
        f"{summary_table(models, sizes(cells), chosen, kl_on)}"
        f"<p class='soft'>{COLUMNS}{KL if kl_on else ''}</p><p id='problem' role='alert' hidden></p>"
        f"<p class='soft'>The same in a terminal:</p><pre id='command'>{escape(said)}</pre>"
    )


def across(tables: Mapping[str, pl.DataFrame], report: Report) -> list[str]:
    """Models against each other, folded: all of them, and the sizes of each family."""
    scores, cells = tables["scores"], tables["cells"]
    parts, related = [], families(cells)
    if cells["family"].n_unique() > 1 and len(scores):
        drawn = f"<figure>{svg(all_models(scores, cells), 'across')}<figcaption>{ACROSS}</figcaption></figure>"
        parts.append(folded("Models against each other", drawn))
    for number, (name, members) in enumerate(related.items()):
        told = family_section(members, scores, cells, dict(report.stderrs), f"family{number}")
        parts.append(folded(f"Sizes of one family: {name}", f"<p class='soft'>{FAMILY}</p>{told}"))
    return ["<h2 id='across'>Across models</h2>", *parts] if parts else []


def ending(results: pl.DataFrame) -> str:
    """Where the data are, and what has no score."""
    missing = ", ".join(unscored(results))
    said = f" Without a score, as none of their metrics is one: {escape(missing)}." if missing else ""
    return f"<h2 id='words'>Data and words</h2><p class='soft'>{DATA}{said}</p>"


def sizes(cells: pl.DataFrame) -> dict[str, int]:
    """Parameters by model; 0 where an older table does not know them."""
    return {model: n or 0 for model, n in cells.select("model", "n_parameters").unique("model").rows()}


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
