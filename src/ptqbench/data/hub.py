"""The hub's corpora and the exact splits that the literature uses. Data, without heavy imports."""

from __future__ import annotations

from typing import NamedTuple


class HubCorpus(NamedTuple):
    """A data set on the hub: files of its calibration and its evaluation split, and how documents are joined."""

    dataset: str
    name: str | None
    column: str
    calibration: dict[str, str]
    evaluation: dict[str, str]
    separator: str
    documents: int | None  # of the evaluation split; None for all


CORPORA = {
    # wikitext-2-raw-v1; rows joined by a blank line, as in the GPTQ reference
    "wikitext2": HubCorpus(
        "Salesforce/wikitext", "wikitext-2-raw-v1", "text", {"split": "train"}, {"split": "test"}, "\n\n", None
    ),
    # one shard each; evaluation is the reference's `--new-eval`: the first 1,100 documents joined by spaces
    "c4": HubCorpus(
        "allenai/c4",
        None,
        "text",
        {"split": "train", "data_files": "en/c4-train.00000-of-01024.json.gz"},
        {"split": "validation", "data_files": "en/c4-validation.00000-of-00008.json.gz"},
        " ",
        1100,
    ),
    # the original is a script data set, which `datasets` no longer runs: this is its parquet conversion
    "ptb": HubCorpus(
        "ptb-text-only/ptb_text_only",
        None,
        "sentence",
        {"split": "train", "revision": "refs/convert/parquet"},
        {"split": "test", "revision": "refs/convert/parquet"},
        " ",
        None,
    ),
    # the validation split alone is enough for calibration (AWQ, SmoothQuant)
    "pile": HubCorpus(
        "mit-han-lab/pile-val-backup", None, "text", {"split": "validation"}, {"split": "validation"}, "\n\n", 2000
    ),
}
