"""Sanity chart: how scores and maps follow when lesions, weights or pixels are taken away."""

from __future__ import annotations

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bonescan_utils.style import (
    BLUE,
    COLUMN_MM,
    GREY,
    REFERENCE_LINE,
    VERMILION,
    add_footnote,
    check_columns,
    new_figure,
    styled,
)

ORDER_LOOK: Any = {"map": {"color": VERMILION, "linestyle": "-"}, "random": {"color": GREY, "linestyle": "--"}}
ORDER_TEXT = {"map": "order of the map", "random": "random order"}
CHANGE_TEXT = {"removed": "Lesions removed", "inserted": "Lesions inserted"}


@styled
def plot_counterfactuals(table: pd.DataFrame, *, threshold: float, note: str = "") -> Figure | None:
    """Score of each phantom as it is and changed, a line a patient; a panel for each change.

    Args:
        table: `change, score_before, score_after` (`counterfactuals.counterfactual_scores`, of one or both changes).
        threshold: The arm's threshold, dotted.
        note: One more line at the foot.

    Returns:
        The figure; None of a table without rows.
    """
    if table.empty:
        return None
    check_columns(table, ["change", "score_before", "score_after"], "the counterfactual table")
    changes = list(dict.fromkeys(table["change"]))
    fig = new_figure(COLUMN_MM, 62)
    panels = fig.subplots(1, len(changes), sharey=True, squeeze=False)[0]
    for ax, change in zip(panels, changes, strict=True):
        mine = table[table["change"] == change]
        for before, after in zip(mine["score_before"], mine["score_after"], strict=True):
            crossed = (before >= threshold) != (after >= threshold)
            ax.plot(
                [0, 1], [before, after], color=BLUE if crossed else VERMILION, alpha=0.45, linewidth=0.7,
                marker="o", markersize=2,
            )  # fmt: skip
        ax.axhline(threshold, **REFERENCE_LINE)
        ax.set_xticks([0, 1], ["as it is", "changed"])
        ax.set(xlim=(-0.25, 1.25), ylim=(-0.03, 1.03), title=f"{CHANGE_TEXT[change]}\nn = {len(mine)}")
    panels[0].set_ylabel("Score")
    sns.despine(fig=fig)
    lines = "Each line is a phantom patient. Blue: crosses the threshold (dotted). Red: stays on its side."
    return add_footnote(fig, lines, note)


@styled
def plot_randomisation(curve: pd.DataFrame, *, note: str = "") -> Figure | None:
    """Agreement of maps with the trained model's, and pointing game, by the depth to which weights are random.

    Args:
        curve: `depth, quantity, estimate, ci_low, ci_high, n` (`sanity.randomisation_curve`).
        note: One more line at the foot.

    Returns:
        The figure; None of a table without rows.
    """
    if curve.empty:
        return None
    check_columns(curve, ["depth", "quantity", "estimate", "ci_low", "ci_high", "n"], "the randomisation curve")
    fig = new_figure(COLUMN_MM, 66)
    ax = fig.subplots()
    depths = list(dict.fromkeys(curve["depth"]))
    for (quantity, mine), colour in zip(curve.groupby("quantity", sort=False), (BLUE, VERMILION), strict=True):
        places = [depths.index(depth) for depth in mine["depth"]]
        ax.fill_between(places, mine["ci_low"], mine["ci_high"], color=colour, alpha=0.18, linewidth=0)
        ax.plot(places, mine["estimate"], marker="o", markersize=2.6, color=colour, label=str(quantity))
    ax.axhline(0, **REFERENCE_LINE)
    ax.set_xticks(range(len(depths)), depths, rotation=40, ha="right", rotation_mode="anchor")
    ax.set(xlabel="Weights random from the score down to", ylabel="Value (95 % CI)", ylim=(None, 1.04))
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=1, borderpad=0.2)
    sns.despine(fig=fig)
    return add_footnote(fig, f"{int(curve['n'].max())} scans.", note)


@styled
def plot_deletion(curve: pd.DataFrame, *, note: str = "") -> Figure | None:
    """Mean score while pixels are deleted, or put back, in the order of the map and at random.

    Args:
        curve: `test, order, share, estimate, ci_low, ci_high, n` (`sanity.deletion_curve`).
        note: One more line at the foot.

    Returns:
        The figure; None of a table without rows.
    """
    if curve.empty:
        return None
    check_columns(curve, ["test", "order", "share", "estimate", "ci_low", "ci_high", "n"], "the deletion curve")
    tests = list(dict.fromkeys(curve["test"]))
    fig = new_figure(COLUMN_MM, 62)
    panels = fig.subplots(1, len(tests), sharey=True, squeeze=False)[0]
    for ax, test in zip(panels, tests, strict=True):
        _orders(ax, curve[curve["test"] == test])
        ax.set(title=str(test).capitalize(), xlabel="Pixels changed (%)", ylim=(-0.03, 1.03))
    panels[0].set_ylabel("Mean score (95 % CI)")
    fig.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, borderpad=0.2)
    sns.despine(fig=fig)
    scale = "The axis is linear up to 1 %, and logarithmic beyond."
    return add_footnote(fig, f"{int(curve['n'].max())} scans. {scale}", note)


def _orders(ax: Axes, curve: pd.DataFrame) -> None:
    """Draws the two orders of one test."""
    for order, mine in curve.groupby("order", sort=False):
        look, percent = ORDER_LOOK[str(order)], 100 * mine["share"]
        ax.fill_between(percent, mine["ci_low"], mine["ci_high"], color=look["color"], alpha=0.18, linewidth=0)
        ax.plot(percent, mine["estimate"], label=ORDER_TEXT[str(order)], **look)
    ax.set_xscale("symlog", linthresh=1, linscale=0.5)
    ax.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    ax.minorticks_off()
