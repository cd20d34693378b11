"""Figures: tables -> publication figures. They draw, and compute nothing that is not in a table.

Every function takes tables, returns a `Figure`, and touches no file; `save_figure` writes one. Figures that
show arms say at their foot which weights each arm started from; an arm without pretrained weights is dashed
and marked "random init".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bonescan_utils.breakdown_chart import plot_breakdown
from bonescan_utils.charts import (
    plot_count_statistics,
    plot_folds,
    plot_group_auroc,
    plot_learning_curves,
    plot_primary_by_label,
)
from bonescan_utils.flow import plot_flow
from bonescan_utils.forest import plot_forest, plot_subgroups
from bonescan_utils.localisation_chart import plot_froc, plot_localisation
from bonescan_utils.overlays import OverlayCase, plot_overlays
from bonescan_utils.pictures import plot_before_after, plot_montage
from bonescan_utils.robustness_chart import plot_robustness
from bonescan_utils.sanity_chart import plot_counterfactuals, plot_deletion, plot_randomisation
from bonescan_utils.style import (
    BLACK,
    COLUMN_MM,
    GREY,
    PAGE_MM,
    PHANTOM_NOTE,
    REFERENCE_LINE,
    Weights,
    add_footnote,
    arm_label,
    arm_style,
    arms_of,
    check_columns,
    grid_of,
    hide_empty,
    interval_text,
    metric_row,
    new_figure,
    save_figure,
    styled,
    unit_square,
)
from bonescan_utils.wording import format_number, weights_sentence

__all__ = [
    "PHANTOM_NOTE",
    "OverlayCase",
    "plot_before_after",
    "plot_breakdown",
    "plot_calibration",
    "plot_confusion",
    "plot_count_statistics",
    "plot_counterfactuals",
    "plot_decision_curve",
    "plot_deletion",
    "plot_flow",
    "plot_folds",
    "plot_forest",
    "plot_froc",
    "plot_group_auroc",
    "plot_learning_curves",
    "plot_localisation",
    "plot_montage",
    "plot_overlays",
    "plot_pr",
    "plot_primary_by_label",
    "plot_randomisation",
    "plot_robustness",
    "plot_roc",
    "plot_subgroups",
    "save_figure",
]


# ------------------------------------------------------------------------------------------------ curves
@styled
def plot_roc(
    roc: pd.DataFrame,
    summary: pd.DataFrame,
    *,
    weights: Weights,
    band: pd.DataFrame | None = None,
    note: str = "",
) -> Figure:
    """ROC curves of the arms, with AUROC and its interval; a dot marks each arm's operating point.

    Args:
        roc: `arm, fpr, sensitivity` (`evaluation.roc_table`).
        summary: `arm, metric, estimate, ci_low, ci_high` with AUROC, and for the dots sensitivity and
            specificity (`evaluation.metrics_table`).
        weights: arm -> kind of its starting weights.
        band: `arm, fpr, ci_low, ci_high`, the interval of sensitivity (`operating_points.roc_band_table`); that of the
            first arm is drawn, more would hide each other.
        note: one more line at the foot.
    """
    check_columns(roc, ["arm", "fpr", "sensitivity"], "the ROC table")
    arms = arms_of(roc)
    fig, ax, beside = _square_figure(arms)
    ax.plot([0, 1], [0, 1], **REFERENCE_LINE)
    for arm, points in roc.groupby("arm", sort=False):
        style = arm_style(str(arm), arms, weights)
        style["label"] += f"   {interval_text(metric_row(summary, str(arm), 'AUROC'))}"
        ax.plot(points["fpr"], points["sensitivity"], **style)
        if {"sensitivity", "specificity"} <= set(summary["metric"]):
            found = [metric_row(summary, str(arm), name)["estimate"] for name in ("specificity", "sensitivity")]
            ax.plot(1 - found[0], found[1], "o", markersize=3.5, color=style["color"], zorder=4)
    shaded = "" if band is None else f" Band: 95 % CI of sensitivity, {_shade(ax, band, arms[0], weights)}."
    unit_square(ax, "1 \N{MINUS SIGN} specificity", "Sensitivity")
    _legend(ax, "AUROC (95 % CI)", beside=beside)
    return add_footnote(fig, f"Dots: operating points.{shaded}", weights_sentence(arms, weights), note)


def _shade(ax: Axes, band: pd.DataFrame, arm: str, weights: Weights) -> str:
    """Fills the interval of an arm's curve; returns the arm's name."""
    check_columns(band, ["arm", "fpr", "ci_low", "ci_high"], "the table of the ROC band")
    points = band[band["arm"] == arm]
    colour = arm_style(arm, [arm], weights)["color"]
    ax.fill_between(points["fpr"], points["ci_low"], points["ci_high"], color=colour, alpha=0.15, linewidth=0)
    return arm_label(arm, weights)


@styled
def plot_pr(pr: pd.DataFrame, summary: pd.DataFrame, *, weights: Weights, note: str = "") -> Figure:
    """Precision-recall curves of the arms, with AUPRC; a dotted line marks the share of positive scans.

    Args:
        pr: `arm, sensitivity, ppv` (`evaluation.pr_table`).
        summary: `arm, metric, estimate, ci_low, ci_high, n, n_positive` with AUPRC.
        weights: arm -> kind of its starting weights.
        note: one more line at the foot.
    """
    check_columns(pr, ["arm", "sensitivity", "ppv"], "the precision-recall table")
    arms = arms_of(pr)
    fig, ax, beside = _square_figure(arms)
    for arm, points in pr.groupby("arm", sort=False):
        row = metric_row(summary, str(arm), "AUPRC")
        style = arm_style(str(arm), arms, weights)
        style["label"] += f"   {interval_text(row)}"
        ax.plot(points["sensitivity"], points["ppv"], drawstyle="steps-post", **style)
    ax.axhline(row["n_positive"] / row["n"], **REFERENCE_LINE)
    unit_square(ax, "Sensitivity (recall)", "PPV (precision)")
    _legend(ax, "AUPRC (95 % CI)", beside=beside)
    dotted = f"Dotted: share of scans with metastasis, {row['n_positive']} of {row['n']}."
    return add_footnote(fig, dotted, weights_sentence(arms, weights), note)


def _square_figure(arms: Sequence[str]) -> tuple[Figure, Axes, bool]:
    """Returns a figure for one square panel, its axes, and whether its legend goes beside them."""
    beside = len(arms) > 6
    fig = new_figure(PAGE_MM, 98) if beside else new_figure(COLUMN_MM, 86 + 3.6 * len(arms))
    ax = fig.subplots()
    ax.set_anchor("W" if beside else "C")
    return fig, ax, beside


def _legend(ax: Axes, title: str, *, beside: bool) -> None:
    """Puts the legend below the axes, or beside them where there are many arms: it can cover no curve."""
    place: Any = {"loc": "upper left", "bbox_to_anchor": (1.02, 1) if beside else (0, -0.16)}
    ax.legend(title=title, alignment="left", handlelength=2.8, borderpad=0, labelspacing=0.35, **place)
    sns.despine(ax=ax)


@styled
def plot_calibration(
    calibration: pd.DataFrame, *, weights: Weights, summary: pd.DataFrame | None = None, note: str = ""
) -> Figure:
    """Observed share of metastasis against mean score, a panel per arm, with intervals.

    Args:
        calibration: `arm, mean_score, observed, ci_low, ci_high, n` (`evaluation.calibration_table`).
        weights: arm -> kind of its starting weights.
        summary: `arm, metric, estimate, ci_low, ci_high` with slope, intercept and ECE, written below the panels
            (`calibration.calibration_metrics`).
        note: one more line at the foot.
    """
    check_columns(calibration, ["arm", "mean_score", "observed", "ci_low", "ci_high"], "the calibration table")
    arms = arms_of(calibration)
    rows, columns = grid_of(len(arms), 3)
    fig = new_figure(max(COLUMN_MM, PAGE_MM * columns / 3), (66 if summary is None else 75) * rows + 6)
    for ax, arm in zip(fig.subplots(rows, columns, squeeze=False).flat, arms, strict=False):
        points = calibration[calibration["arm"] == arm]
        style = arm_style(arm, arms, weights)
        spread = np.abs(points[["ci_low", "ci_high"]].to_numpy().T - points["observed"].to_numpy())
        ax.plot([0, 1], [0, 1], **REFERENCE_LINE)
        ax.errorbar(points["mean_score"], points["observed"], spread, fmt="none", color=GREY, linewidth=0.7)
        ax.plot(points["mean_score"], points["observed"], marker="o", markersize=3, **style)
        unit_square(ax, "Mean score", "Observed share")
        ax.set_title(arm_label(arm, weights))
        if summary is not None:
            words = [
                f"{name} {interval_text(metric_row(summary, arm, name))}" for name in ("slope", "intercept", "ECE")
            ]
            below: Any = {"transform": ax.transAxes, "va": "top", "ha": "center"}
            ax.text(0.5, -0.25, "\n".join(words), fontsize=6, linespacing=1.3, **below)
    hide_empty(fig)
    return add_footnote(fig, "Bins of equally many scans.", weights_sentence(arms, weights), note)


# ---------------------------------------------------------------------------------------------- decisions
@styled
def plot_decision_curve(net_benefit: pd.DataFrame, *, weights: Weights, note: str = "") -> Figure:
    """Net benefit against the threshold at which one would act, beside treating all and treating none.

    Args:
        net_benefit: `arm, threshold, estimate, ci_low, ci_high, treat_all, prevalence`
            (`decision.net_benefit_table`); the band of the first arm is drawn.
        weights: arm -> kind of its starting weights.
        note: one more line at the foot.
    """
    columns = ["arm", "threshold", "estimate", "ci_low", "ci_high", "treat_all", "prevalence"]
    check_columns(net_benefit, columns, "the table of net benefit")
    arms, share = arms_of(net_benefit), net_benefit["prevalence"].iloc[0]
    fig, ax, beside = _square_figure([*arms, "all", "none"])
    for arm, points in net_benefit.groupby("arm", sort=False):
        ax.plot(points["threshold"], points["estimate"], **arm_style(str(arm), arms, weights))
    first = net_benefit[net_benefit["arm"] == arms[0]]
    colour = arm_style(arms[0], arms, weights)["color"]
    ax.fill_between(first["threshold"], first["ci_low"], first["ci_high"], color=colour, alpha=0.15, linewidth=0)
    ax.plot(first["threshold"], first["treat_all"], color=BLACK, linestyle="--", linewidth=0.8, label="Treat all")
    ax.axhline(0, color=BLACK, linewidth=0.8, label="Treat none")
    top = max(share, net_benefit["estimate"].max(), first["ci_high"].max())
    ax.set(xlim=(0, 1), ylim=(-0.05, 1.05 * top), xlabel="Threshold probability", ylabel="Net benefit")
    _legend(ax, "", beside=beside)
    said = f"Prevalence {format_number(share)}. Band: 95 % CI, {arm_label(arms[0], weights)}."
    return add_footnote(fig, said, weights_sentence(arms, weights), note)


# --------------------------------------------------------------------------------------------- confusion
@styled
def plot_confusion(confusion: pd.DataFrame, *, weights: Weights, note: str = "") -> Figure:
    """The 2 x 2 counts of every arm at its threshold; shade and per cent are of the row.

    Args:
        confusion: `arm, threshold, tp, fn, fp, tn` (`evaluation.confusion_table`).
        weights: arm -> kind of its starting weights.
        note: one more line at the foot.
    """
    check_columns(confusion, ["arm", "threshold", "tp", "fn", "fp", "tn"], "the confusion table")
    rows, columns = grid_of(len(confusion), 3)
    fig = new_figure(PAGE_MM * columns / 3, 66 * rows + 8)
    axes = fig.subplots(rows, columns, squeeze=False)
    for ax, (_, row) in zip(axes.flat, confusion.iterrows(), strict=False):
        counts = np.array([[row["tp"], row["fn"]], [row["fp"], row["tn"]]], dtype=int)
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        text = [
            [f"{n}\n{format_number(100 * s, 0)} %" for n, s in zip(*line, strict=True)]
            for line in zip(counts, share, strict=True)
        ]
        sns.heatmap(
            share, ax=ax, vmin=0, vmax=1, cmap="Blues", cbar=False, square=True, linewidths=1,
            annot=np.array(text), fmt="", annot_kws={"size": 8},
            xticklabels=["yes", "no"], yticklabels=["yes", "no"],
        )  # fmt: skip
        ax.set(xlabel=f"Called (threshold {format_number(row['threshold'])})", ylabel="Metastasis, reference")
        ax.tick_params(length=0)
        ax.set_title(arm_label(row["arm"], weights))
    for ax in axes.flat[len(confusion) :]:
        ax.set_visible(False)
    return add_footnote(fig, weights_sentence(arms_of(confusion), weights), note)
