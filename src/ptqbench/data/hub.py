"""The hub's data sets by their commits, and its corpora as the published protocols read them. Data, without imports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class HubCorpus(NamedTuple):
    """A data set on the hub: files of its calibration and its evaluation split, how rows are joined, what is a sample.

    ``crops`` names a rule of :mod:`ptqbench.data.calibration`. Of the evaluation split the first ``documents`` are
    joined, of the stream the first ``windows`` counted; None for all.
    """

    dataset: str
    name: str | None
    column: str
    calibration: dict[str, Any]
    evaluation: dict[str, Any]
    separator: str
    crops: str
    documents: int | None = None
    windows: int | None = None


CORPORA = {
    # GPTQ's get_wikitext2: every row, the empty ones too, joined by a blank line
    "wikitext2": HubCorpus(
        "Salesforce/wikitext",
        "wikitext-2-raw-v1",
        "text",
        {"split": "train"},
        {"split": "test"},
        "\n\n",
        "stream",
    ),
    # GPTQ's get_c4_new: crops of single documents; the first 1,100 joined by spaces, of which 256 windows count
    "c4": HubCorpus(
        "allenai/c4",
        None,
        "text",
        {"split": "train", "data_files": {"train": "en/c4-train.00000-of-01024.json.gz"}},
        {"split": "validation", "data_files": {"validation": "en/c4-validation.00000-of-00008.json.gz"}},
        " ",
        "documents",
        documents=1100,
        windows=256,
    ),
    # GPTQ's get_ptb_new, from the parquet conversion: the original is a script, which `datasets` no longer runs
    "ptb": HubCorpus(
        "ptb-text-only/ptb_text_only",
        None,
        "sentence",
        {"split": "train", "data_files": {"train": "penn_treebank/train/0000.parquet"}},
        {"split": "test", "data_files": {"test": "penn_treebank/test/0000.parquet"}},
        " ",
        "stream",
    ),
    # AWQ's calibration; nobody evaluates on it: that is ours, and of documents that calibration may have seen
    "pile": HubCorpus(
        "mit-han-lab/pile-val-backup",
        None,
        "text",
        {"split": "validation"},
        {"split": "validation"},
        "\n\n",
        "blocks",
        documents=2000,
    ),
}

# as public code names them; None: not known, a config has to say it (`revisions`)
REVISIONS = {
    "wikitext2": "b08601e04326c79dfdd32d625aee71d232d685c3",
    "c4": "1588ec454efa1a09f29cd18ddd04fe05fc8653a2",
    "ptb": None,
    "pile": "2f5e46ae6a69cf0dce4b12f78241c408936ca0e4",
    "scienceqa": "f18b0a70359ebfb41f658fd564208d0355b013f4",
    "textvqa": "9c0699cd19768ac5ab97568f6b3cbac4c0062884",
    "mmbench": "56ba1af8954932c4804bd3f522e05ed96e63b654",
    "pope": "4db1276663dfa5eb8ad16a52d24c31a09e470896",
}
BRANCHES = {"ptb": "refs/convert/parquet"}  # where a commit is looked up, if not on the main branch


def revisions(sources: Iterable[str], asked: Mapping[str, str]) -> dict[str, str | None]:
    """The commit of each of the hub's sets among ``sources``: the config's, or else the one that is known."""
    return {name: asked.get(name) or REVISIONS[name] for name in sources if name in REVISIONS}
