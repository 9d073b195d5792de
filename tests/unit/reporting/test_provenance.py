"""What made each number, as a table and back."""

from __future__ import annotations

import report_data

from ptqbench.reporting.provenance import origins_of, origins_table


def test_the_table_holds_all_of_it() -> None:
    origins = report_data.origins()
    assert origins_of(origins_table(origins)) == origins
    assert origins_of(origins_table({})) == {}
