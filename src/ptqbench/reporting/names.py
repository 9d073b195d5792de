"""Names in the report that the workflow must know too; without any library."""

from __future__ import annotations

import re

DIAGNOSIS = "diagnosis"  # folder of the pages on why cells score as they do, beside the report
COMPARISON = "compare.html"


def anchor(cell: tuple[str, ...]) -> str:
    """A cell's id in a page: its names with everything but letters, digits, ``.`` and ``-`` spelled as hex."""
    return "cell-" + "_".join(re.sub(r"[^A-Za-z0-9.-]", lambda sign: f"~{ord(sign[0]):x}~", name) for name in cell)


def diagnosis_pages(cells: list[tuple[str, ...]]) -> list[str]:
    """Every page of the diagnosis, relative to the report."""
    pages = [f"{DIAGNOSIS}/{anchor(cell)}.html" for cell in cells]
    return [*pages, f"{DIAGNOSIS}/{COMPARISON}"] if cells else []
