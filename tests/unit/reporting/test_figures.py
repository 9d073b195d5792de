"""The figures, and the frontier against its definition."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import report_data

from ptqbench.reporting.figures import (
    across_models,
    classes,
    domain,
    labelled,
    panel,
    pareto,
    points,
    size_against_quality,
    spaced,
    svg,
    write_figure,
)


def test_the_frontier_is_what_nothing_beats() -> None:
    generator = random.Random(0)
    for _ in range(100):
        sizes = [generator.randrange(6) for _ in range(12)]
        losses = [generator.randrange(6) for _ in range(12)]
        found = pareto(sizes, losses)
        assert any(found)
        for i, on in enumerate(found):
            better = [
                (sizes[j] < sizes[i] and losses[j] <= losses[i]) or (sizes[j] <= sizes[i] and losses[j] < losses[i])
                for j in range(12)
            ]
            assert on == (not any(better))


def test_a_model_has_a_point_for_each_quantized_cell_and_the_higher_accuracy_is_better() -> None:
    tables = report_data.tables()
    data = points(tables["scores"], tables["cells"], "plain", "acc % qa<i>")
    assert len(data) == 9
    best = data.filter(pl.col("bits") == 2.1).sort("value", descending=True)
    assert best["frontier"].to_list()[0]
    assert not best["frontier"].to_list()[-1]


def test_files_are_drawings(tmp_path: Path) -> None:
    tables = report_data.tables()
    for name, chart in (
        ("sizes", size_against_quality(tables["scores"], tables["cells"])),
        ("models", across_models(tables["scores"], tables["cells"])),
    ):
        write_figure(chart, tmp_path / name)
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (tmp_path / f"{name}.svg").read_text()


def test_panels_name_their_score_and_the_best_cells_in_the_colours_of_the_page() -> None:
    tables = report_data.tables()
    for score, told in (("ppl wiki@64 (text)", "ppl wiki@64 (text) (lower is better)"),
                        ("acc % qa<i>", "acc % qa&lt;i&gt; (higher is better)")):  # fmt: skip
        drawn = svg(panel(tables["scores"], tables["cells"], "plain", score, ""), score[:3])
        assert told in drawn
        assert "awq+gptq w4" in drawn
        assert all(one.colour in drawn for one in classes(tables["cells"]))
    assert {one.name for one in classes(tables["cells"])} == {
        "none (nearest rounding)",
        "compensation",
        "compensation + salience",
    }


def test_axes_hold_every_value_and_have_a_length() -> None:
    assert domain([1.0, 3.0]) == [0.9, 3.1]
    low, high = domain([88.5, 88.5])
    assert low < 88.5 < high


def test_labels_of_frontiers_keep_their_distance_on_the_logarithm_of_bytes() -> None:
    best = pl.DataFrame({"megabytes": [1.0, 1.1, 10.0, 9.9, 100.0], "comparable": [2.0, 1.99, 1.5, 1.0, 0.5]})
    assert labelled(best)["megabytes"].to_list() == [100.0, 10.0, 9.9, 1.1]


def test_a_family_has_panels_of_its_own_unless_it_is_all_there_is() -> None:
    tables = report_data.tables()
    n_models = tables["cells"]["model"].n_unique()
    assert n_models == 2
    assert len(across_models(tables["scores"], tables["cells"]).concat) == 2
    third = tables["cells"].with_columns(model=pl.lit("third"), family=pl.lit("other"))
    assert len(across_models(tables["scores"], pl.concat([tables["cells"], third])).concat) == 4


def test_labels_keep_their_distance() -> None:
    frontier = pl.DataFrame({"bits": [2.0, 2.1, 2.2, 3.0, 3.1, 4.0]})
    assert spaced(frontier)["bits"].to_list() == [4.0, 3.1, 2.2]
    assert len(spaced(frontier.head(1))) == 1
    assert len(spaced(frontier.clear())) == 0
