"""Forest: estimates with their intervals, a row per arm or per subgroup, a panel per metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bonescan_utils.style import (
    GREY,
    PAGE_MM,
    REFERENCE_LINE,
    Weights,
    add_footnote,
    arm_label,
    arms_of,
    check_columns,
    dot_style,
    interval_text,
    metric_row,
    new_figure,
    styled,
)
from bonescan_utils.wording import metric_text, weights_sentence

SHOWN = ("AUROC", "sensitivity", "specificity")
"""Metrics of a forest, at most three to a page's width."""
ROW_MM = 4.6
"""Height of a row of the forest of subgroups."""
HEADING = 0.3
"""Room above the name of a factor, in rows."""


@styled
def plot_forest(metrics: pd.DataFrame, *, weights: Weights, shown: Sequence[str] = SHOWN, note: str = "") -> Figure:
    """Estimates with intervals, a row per arm and a panel per metric; hollow without pretrained weights.

    Args:
        metrics: `arm, metric, estimate, ci_low, ci_high` (`evaluation.metrics_table`).
        weights: arm -> kind of its starting weights.
        shown: the metrics, at most three to a page's width.
        note: one more line at the foot.
    """
    check_columns(metrics, ["arm", "metric", "estimate", "ci_low", "ci_high"], "the metrics table")
    arms = arms_of(metrics)
    fig = new_figure(PAGE_MM, 24 + 6.5 * len(arms))
    axes = fig.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for ax, metric in zip(axes, shown, strict=True):
        for place, arm in enumerate(arms):
            _interval(ax, place, metric_row(metrics, arm, metric), dot_style(arm, arms, weights))
        _dress(ax, metric, len(arms))
        ax.set_yticks(range(len(arms)), [arm_label(arm, weights) for arm in arms])
    sns.despine(fig=fig)
    return add_footnote(fig, weights_sentence(arms, weights), note)


@styled
def plot_subgroups(
    subgroups: pd.DataFrame, *, arm: str, weights: Weights, shown: Sequence[str] = SHOWN, note: str = ""
) -> Figure:
    """Estimates of one arm by subgroup, a panel per metric; a dotted line marks that of all scans.

    Args:
        subgroups: `factor, group, arm, metric, estimate, ci_low, ci_high, n, n_positive`, in the order of the rows;
            the first factor is `all` (`subgroups.subgroup_table`). An estimate that is not there is said to be so.
        arm: the arm shown.
        weights: arm -> kind of its starting weights.
        shown: the metrics, at most three to a page's width.
        note: one more line at the foot.

    Raises:
        ValueError: The table lacks a column, or has no row of the arm.
    """
    columns = ["factor", "group", "arm", "metric", "estimate", "ci_low", "ci_high", "n", "n_positive"]
    check_columns(subgroups, columns, "the table of subgroups")
    mine = subgroups[subgroups["arm"] == arm]
    check_columns(mine, columns, f"the table of subgroups, arm {arm!r}")
    places, labels = _rows(mine)
    groups = {labels[place] for place in places.values()}
    height = max(places.values()) + 1.0
    fig = new_figure(PAGE_MM, 22 + ROW_MM * height)
    axes = fig.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for ax, metric in zip(axes, shown, strict=True):
        rows = mine[mine["metric"] == metric]
        for _, row in rows.iterrows():
            _interval(ax, places[row["factor"], row["group"]], row, dot_style(arm, [arm], weights))
        overall = rows.loc[rows["factor"] == "all", "estimate"]
        for value in overall.dropna():
            ax.axvline(value, **REFERENCE_LINE)
        _dress(ax, metric, height)
        ax.set_yticks(list(labels), list(labels.values()))
        ax.tick_params(axis="y", length=0)
    for label, text in zip(axes[0].get_yticklabels(), labels.values(), strict=True):
        label.set_fontweight("normal" if text in groups else "bold")
    sns.despine(fig=fig, left=True)
    small = "too few: too few scans for an estimate. Behind each group: scans, of these with metastasis."
    return add_footnote(fig, small, "Dotted: all scans.", weights_sentence([arm], weights), note)


def _rows(table: pd.DataFrame) -> tuple[dict[tuple[str, str], float], dict[float, str]]:
    """Returns the place of each group, with the name of each factor above its groups, and what is written where."""
    places: dict[tuple[str, str], float] = {}
    labels: dict[float, str] = {}
    at = 0.0
    for factor, rows in table.drop_duplicates(["factor", "group"]).groupby("factor", sort=False):
        if factor != "all":
            labels[at + HEADING] = str(factor).replace("_", " ").capitalize()
            at += 1 + HEADING
        for _, row in rows.iterrows():
            places[str(factor), row["group"]] = at
            labels[at] = f"{row['group']}  {row['n']:,.0f} ({row['n_positive']:,.0f})"
            at += 1
    return places, labels


def _interval(ax: Axes, place: float, row: pd.Series, look: dict[str, Any]) -> None:
    """Draws one estimate with its interval, and writes it beside the panel."""
    at: Any = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": 6}
    if pd.isna(row["estimate"]):
        ax.text(1.03, place, "too few", color=GREY, **at)
        return
    ax.plot([row["ci_low"], row["ci_high"]], [place, place], color=look["color"])
    ax.plot(row["estimate"], place, **look)
    ax.text(1.03, place, interval_text(row), **at)


def _dress(ax: Axes, metric: str, rows: float) -> None:
    """Gives a panel its title, axis and grid."""
    ax.set(title=metric_text(metric), xlabel="Estimate (95 % CI)", ylim=(rows - 0.4, -0.6))
    ax.grid(axis="x", linewidth=0.3, color="#DDDDDD")
