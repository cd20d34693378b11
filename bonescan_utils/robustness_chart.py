"""Robustness chart: AUROC along each perturbation with levels, and under those without."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bonescan_utils.perturbations import CURVES, PROBES, UNPERTURBED, Curve
from bonescan_utils.style import (
    COLUMN_MM,
    REFERENCE_LINE,
    Weights,
    add_footnote,
    arm_style,
    arms_of,
    check_columns,
    legend_above,
    new_figure,
    styled,
)
from bonescan_utils.wording import is_pretrained, weights_sentence


@styled
def plot_robustness(table: pd.DataFrame, *, weights: Weights, note: str = "") -> Figure | None:
    """AUROC against the level of each perturbation (band: 95 % CI), and below it a row per perturbation without levels.

    Args:
        table: `arm, perturbation, level, estimate, ci_low, ci_high, n` (`robustness.robustness_table`).
        weights: arm -> kind of its starting weights.
        note: one more line at the foot.

    Returns:
        The figure; None of a table without rows.
    """
    if table.empty:
        return None
    check_columns(table, ["arm", "perturbation", "level", "estimate", "ci_low", "ci_high", "n"], "the robustness table")
    arms = arms_of(table)
    present = [name for name in dict.fromkeys(table["perturbation"]) if name not in (UNPERTURBED, *CURVES)]
    row_mm = 2.4 + 1.6 * len(arms)
    fig = new_figure(COLUMN_MM, 70 + len(present) * row_mm)
    above, below = fig.subfigures(2, 1, squeeze=False, height_ratios=(36, 16 + len(present) * row_mm))[:, 0]
    panels = above.subplots(1, len(CURVES), sharey=True)
    for ax, (name, curve) in zip(panels, CURVES.items(), strict=True):
        _curve(ax, table, name, curve, arms, weights)
    panels[0].set_ylabel("AUROC (95 % CI)")
    _rows(below.subplots(), table, present, arms, weights)
    if len(arms) > 1:
        legend_above(above, panels[0], columns=2)
    for ax in fig.axes:
        sns.despine(ax=ax)
    scans = f"{int(table['n'].max())} test scans. Dashed: the same scans unperturbed. Dotted: chance."
    return add_footnote(fig, scans, weights_sentence(arms, weights), note)


def _curve(ax: Axes, table: pd.DataFrame, name: str, curve: Curve, arms: Sequence[str], weights: Weights) -> None:
    """Draws one perturbation with levels; the unperturbed scans stand at the level that changes nothing."""
    for arm in arms:
        mine = table[table["arm"] == arm]
        start = mine[mine["perturbation"] == UNPERTURBED].assign(level=float(curve.unchanged))
        points = pd.concat([start, mine[mine["perturbation"] == name]]).sort_values("level")
        look = arm_style(arm, arms, weights)
        ax.fill_between(
            points["level"].astype(float), points["ci_low"], points["ci_high"], color=look["color"], alpha=0.18,
            linewidth=0,
        )  # fmt: skip
        ax.plot(points["level"], points["estimate"], marker="o", markersize=2.6, **look)
    ax.axhline(0.5, **REFERENCE_LINE)
    ax.set(xlabel=f"{curve.text} ({curve.unit})", ylim=_limits(table))
    ax.set_xticks(sorted({curve.unchanged, *curve.levels})[::2])  # every level has its dot; all numbers would touch
    if curve.unchanged > max(curve.levels):
        ax.invert_xaxis()  # the further right, the worse the scan


def _rows(ax: Axes, table: pd.DataFrame, names: Sequence[str], arms: Sequence[str], weights: Weights) -> None:
    """Draws the perturbations without levels, a row each and the probes last; where there is no estimate, says so."""
    for rank, arm in enumerate(arms):
        mine = table[table["arm"] == arm].drop_duplicates("perturbation").set_index("perturbation")
        look, shift = arm_style(arm, arms, weights), (rank - (len(arms) - 1) / 2) * 0.7 / len(arms)
        colour = look["color"]
        ax.axvline(float(mine["estimate"].loc[UNPERTURBED]), color=colour, linewidth=0.6, linestyle="--")
        for place, name in enumerate(names):
            row = mine.loc[name]
            if pd.isna(row["estimate"]):
                ax.text(0.51, place + shift, "undefined", color=colour, va="center", fontsize=6)
                continue
            ax.plot([row["ci_low"], row["ci_high"]], [place + shift] * 2, color=colour)
            face = colour if is_pretrained(arm, weights) else "white"
            ax.plot(row["estimate"], place + shift, "o", color=colour, markerfacecolor=face, markersize=3.6)
    ax.axvline(0.5, **REFERENCE_LINE)
    probes = [place for place, name in enumerate(names) if name in PROBES]
    if probes and probes[0]:
        ax.axhline(probes[0] - 0.5, color="#DDDDDD", linewidth=0.6)
    ax.set_yticks(range(len(names)), [name[:1].upper() + name[1:] for name in names])
    ax.set(xlabel="AUROC (95 % CI)", ylim=(len(names) - 0.4, -0.6), xlim=_limits(table))


def _limits(table: pd.DataFrame) -> tuple[float, float]:
    """Returns the ends of an axis of AUROC that holds every interval and chance."""
    return min(0.45, float(table["ci_low"].min()) - 0.03), 1.02
