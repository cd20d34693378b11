"""Charts: AUROC by group and fold, training curves, and what the cohort is made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from bonescan_utils.style import (
    COLUMN_MM,
    GREY,
    LABEL_COLOURS,
    LABEL_TEXT,
    PAGE_MM,
    REFERENCE_LINE,
    Weights,
    add_footnote,
    arm_label,
    arm_style,
    arms_of,
    check_columns,
    dot_style,
    grid_of,
    hide_empty,
    legend_above,
    new_figure,
    styled,
)
from bonescan_utils.wording import weights_sentence


# ------------------------------------------------------------------------------------ groups and folds
@styled
def plot_group_auroc(groups: pd.DataFrame, *, weights: Weights, axis: str = "Group", note: str = "") -> Figure:
    """AUROC with intervals by group, arms side by side; groups too small to say are named so.

    Args:
        groups: `arm, group, estimate, ci_low, ci_high, n_positive` (`evaluation.auroc_by_group`).
        weights: arm -> kind of its starting weights.
        axis: what the groups are, such as `Visible lesions`.
        note: one more line at the foot.
    """
    columns = ["arm", "group", "estimate", "ci_low", "ci_high", "n_positive"]
    check_columns(groups, columns, "the table of groups")
    arms, names = arms_of(groups), list(dict.fromkeys(groups["group"]))
    width = COLUMN_MM if len(arms) * len(names) <= 12 else PAGE_MM
    fig = new_figure(width, 72)
    ax = fig.subplots()
    for rank, arm in enumerate(arms):
        rows = groups[(groups["arm"] == arm) & groups["estimate"].notna()]
        shift = (rank - (len(arms) - 1) / 2) * 0.8 / len(arms)
        place = [names.index(name) + shift for name in rows["group"]]
        look = dot_style(arm, arms, weights)
        ax.vlines(place, rows["ci_low"], rows["ci_high"], colors=look["color"])
        ax.plot(place, rows["estimate"], label=arm_label(arm, weights), **look)
    if groups["estimate"].isna().all():
        ax.set_ylim(0.4, 1.02)
    _groups_axis(ax, groups, names)
    ax.set(xlabel=axis, ylabel="AUROC (95 % CI)")
    legend_above(fig, ax, columns=2 if width == COLUMN_MM else 4)
    sns.despine(ax=ax)
    return add_footnote(fig, "pos.: scans with metastasis.", weights_sentence(arms, weights), note)


@styled
def plot_folds(folds: pd.DataFrame, *, weights: Weights, note: str = "") -> Figure | None:
    """AUROC of each fold (a dot) and their mean (a bar), a column per arm; None without folds.

    Args:
        folds: `arm, repeat, fold, estimate` (`crossval.fold_table`).
        weights: arm -> kind of its starting weights.
        note: one more line at the foot.
    """
    if folds.empty:
        return None
    check_columns(folds, ["arm", "repeat", "fold", "estimate"], "the table of folds")
    arms, repeats = arms_of(folds), folds["repeat"].nunique()
    fig = new_figure(COLUMN_MM if len(arms) <= 7 else PAGE_MM, 70)
    ax = fig.subplots()
    for place, arm in enumerate(arms):
        rows, look = folds[folds["arm"] == arm], dot_style(arm, arms, weights)
        shift = (rows["fold"] - rows["fold"].mean()) * 0.5 / max(1, rows["fold"].max())
        ax.plot(place + shift, rows["estimate"], **look)
        ax.hlines(rows["estimate"].mean(), place - 0.35, place + 0.35, colors=look["color"])
    ax.set_xticks(range(len(arms)), [arm_label(arm, weights) for arm in arms], rotation=30, ha="right")
    ax.set(ylabel="AUROC of a fold", xlim=(-0.6, len(arms) - 0.4))
    sns.despine(ax=ax)
    what = f"{folds['fold'].nunique()} folds" + (f", {repeats} repetitions" if repeats > 1 else "") + "; bar: mean."
    return add_footnote(fig, what, weights_sentence(arms, weights), note)


def _groups_axis(ax: Axes, groups: pd.DataFrame, names: Sequence[str]) -> None:
    """Writes groups and their sizes below the axis, and where no arm has an estimate, why."""
    counts = groups.drop_duplicates("group").set_index("group")["n_positive"]
    ax.axhline(0.5, **REFERENCE_LINE)
    ax.set_xticks(range(len(names)), [f"{name}\n{counts[name]} pos.".replace(">=", "≥") for name in names])
    ax.set(xlim=(-0.5, len(names) - 0.5))
    for place, name in enumerate(names):
        if groups.loc[groups["group"] == name, "estimate"].isna().all():
            at: Any = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "bottom", "color": GREY}
            at["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            ax.text(place, 0.03, "too few\nto say", **at)


# ---------------------------------------------------------------------------------------------- training
@styled
def plot_learning_curves(
    history: pd.DataFrame,
    *,
    weights: Weights,
    best_epoch: Mapping[str, int] | None = None,
    note: str = "",
) -> Figure:
    """Training loss, tuning loss and tuning AUROC by epoch; a dot marks the epoch that was kept.

    A logistic head has no epochs: where all arms have one, the curves go by the strength of its L2 penalty, from the
    strongest (left) to the weakest, as a network goes from simple to intricate with its epochs.

    Args:
        history: `arm, epoch, loss, tuning_loss, tuning_auroc, l2` (the strength; NaN where there are epochs).
        weights: arm -> kind of its starting weights.
        best_epoch: arm -> epoch kept.
        note: one more line at the foot.
    """
    panels = {"loss": "Training loss", "tuning_loss": "Tuning loss", "tuning_auroc": "Tuning AUROC"}
    check_columns(history, ["arm", "epoch", *panels, "l2"], "the history")
    arms, logistic = arms_of(history), bool(history["l2"].notna().all())
    across, what = ("l2", "setting") if logistic else ("epoch", "epoch")
    fig = new_figure(PAGE_MM, 64)
    axes = fig.subplots(1, 3)
    for ax, (column, name) in zip(axes, panels.items(), strict=True):
        for arm, epochs in history.groupby("arm", sort=False):
            look = arm_style(str(arm), arms, weights)
            ax.plot(epochs[across], epochs[column], **look)
            kept = epochs[epochs["epoch"] == (best_epoch or {}).get(str(arm))]
            ax.plot(kept[across], kept[column], "o", markersize=4, color=look["color"], zorder=4)
        ax.set(xlabel="L2 penalty (weaker to the right)" if logistic else "Epoch", title=name)
        if logistic:
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter(lambda value, place: power_of_ten(value))
            ax.minorticks_off()
            ax.invert_xaxis()
        else:
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    losses = [limit for ax in axes[:2] for limit in ax.get_ylim()]
    for ax in axes[:2]:
        ax.set_ylim(min(losses), max(losses))  # so that the two can be compared
    legend_above(fig, axes[0], columns=4)
    sns.despine(fig=fig)
    dots = f"Dots: the {what} that was kept." if best_epoch else ""
    return add_footnote(fig, dots, weights_sentence(arms, weights), note)


def power_of_ten(value: float) -> str:
    """Returns the nearest power of ten as text, such as `10⁻¹`, without mathematical markup."""
    return "10" + f"{round(math.log10(value))}".translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


# ------------------------------------------------------------------------------------------------ cohort
@styled
def plot_primary_by_label(table: pd.DataFrame, *, note: str = "") -> Figure:
    """Scans by primary cancer and label, as bars with their counts.

    Args:
        table: `primary_cancer, metastasis` (0 or 1), `n` (`tables.primary_by_label`).
        note: one more line at the foot.
    """
    check_columns(table, ["primary_cancer", "metastasis", "n"], "the table of primary cancers")
    names = list(dict.fromkeys(table["primary_cancer"]))
    fig = new_figure(COLUMN_MM, 26 + 8 * len(names))
    ax = fig.subplots()
    for label, text in LABEL_TEXT.items():
        rows = table[table["metastasis"] == label].set_index("primary_cancer")
        place = np.arange(len(names)) + (0.19 if label else -0.19)
        counts = rows["n"].reindex(names, fill_value=0)
        bars = ax.barh(place, counts, height=0.36, color=LABEL_COLOURS[label], label=text)
        ax.bar_label(bars, padding=2, fontsize=6)
    ax.set_yticks(range(len(names)), [name or "unknown" for name in names])
    ax.set(xlabel="Scans", ylim=(len(names) - 0.5, -0.5))
    ax.margins(x=0.1)
    legend_above(fig, ax, columns=2)
    sns.despine(ax=ax)
    return add_footnote(fig, note)


@styled
def plot_count_statistics(
    statistics: pd.DataFrame, *, columns: Mapping[str, str] | Sequence[str] = (), note: str = ""
) -> Figure:
    """Distribution of count statistics by label: what a model could use without looking at lesions.

    Args:
        statistics: One row per scan: `metastasis` (0 or 1) and numeric columns.
        columns: The columns to draw, or column -> axis text; all numeric ones if not given.
        note: one more line at the foot.
    """
    check_columns(statistics, ["metastasis"], "the table of count statistics")
    numeric = [name for name in statistics.select_dtypes("number").columns if name != "metastasis"]
    texts = dict(columns) if isinstance(columns, Mapping) else {name: name for name in columns or numeric}
    check_columns(statistics, list(texts), "the table of count statistics")
    rows, across = grid_of(len(texts), 4)
    fig = new_figure(PAGE_MM * max(across, 2) / 4, 40 * rows + 12)
    axes = fig.subplots(rows, across, squeeze=False)
    for ax, (name, text) in zip(axes.flat, texts.items(), strict=False):
        for label in LABEL_TEXT:
            values = statistics.loc[statistics["metastasis"] == label, name]
            sns.ecdfplot(values, ax=ax, color=LABEL_COLOURS[label], label=LABEL_TEXT[label])
        ax.set(xlabel=text.replace("_", " "), ylabel="")
        if statistics[name].abs().max() >= 10_000:
            ax.xaxis.set_major_formatter(EngFormatter(sep=""))  # 1.5M, not 1.5 and a 1e6 in the corner
    for ax in axes[:, 0]:
        ax.set_ylabel("Share of scans")
    legend_above(fig, axes[0, 0], columns=2)
    hide_empty(fig)
    return add_footnote(fig, "Cumulative share of scans at or below a value.", note)
