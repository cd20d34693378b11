"""Sanity charts: what is drawn is what the tables hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bonescan_utils.sanity_chart import plot_counterfactuals, plot_deletion, plot_randomisation

CHANGED = pd.DataFrame(
    {"change": ["removed", "removed", "inserted"], "score_before": [0.9, 0.8, 0.1], "score_after": [0.1, 0.7, 0.95]}
)
ESTIMATE = {"ci_low": 0.2, "ci_high": 0.6, "n": 12}


def lines(ax) -> list[list[float]]:
    return [list(np.asarray(line.get_ydata(), float)) for line in ax.lines]


def test_each_patient_is_a_line_and_crossing_ones_are_coloured() -> None:
    fig = plot_counterfactuals(CHANGED, threshold=0.5)
    removed, inserted = fig.axes
    assert lines(removed) == [[0.9, 0.1], [0.8, 0.7], [0.5, 0.5]] and lines(inserted)[0] == [0.1, 0.95]
    assert removed.lines[0].get_color() == inserted.lines[0].get_color() != removed.lines[1].get_color()
    assert "n = 2" in removed.get_title(loc="left")


def test_depths_keep_their_order() -> None:
    curve = pd.DataFrame({"depth": ["trained", "score", "first"] * 2, "estimate": [1, 0.4, 0.0, 0.9, 0.5, 0.1]})
    curve = curve.assign(quantity=["rank correlation"] * 3 + ["pointing game"] * 3, **ESTIMATE)
    (ax,) = plot_randomisation(curve).axes
    assert [text.get_text() for text in ax.get_xticklabels()] == ["trained", "score", "first"]
    assert lines(ax)[:2] == [[1, 0.4, 0.0], [0.9, 0.5, 0.1]]


def test_either_test_has_a_panel_with_both_orders() -> None:
    rows = [(t, o, s, 0.4) for t in ("deletion", "insertion") for o in ("map", "random") for s in (0.0, 0.1, 1.0)]
    curve = pd.DataFrame(rows, columns=["test", "order", "share", "estimate"]).assign(**ESTIMATE)
    deletion, insertion = plot_deletion(curve).axes
    assert len(deletion.lines) == len(insertion.lines) == 2
    assert list(deletion.lines[0].get_xdata()) == [0, 10, 100]


@pytest.mark.parametrize("plot", [lambda t: plot_counterfactuals(t, threshold=0.5), plot_randomisation, plot_deletion])
def test_no_rows_give_no_figure_and_a_lacking_column_is_named(plot) -> None:
    assert plot(pd.DataFrame()) is None
    with pytest.raises(ValueError, match="lacks column"):
        plot(pd.DataFrame({"n": [1]}))
