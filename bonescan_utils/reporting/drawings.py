"""Drawings: the figures of a run, drawn again from its tables, for instance at another journal's width."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from bonescan_utils import figures
from bonescan_utils.reporting.records import RunRecord
from bonescan_utils.tables import partition_sizes


def flow(run: RunRecord) -> Figure:
    """Draws the flow of scans; its foot, the partitions, where the cohort is in the run folder."""
    return figures.plot_flow(run.table("flow"), None if run.cohort is None else partition_sizes(run.cohort))


def primary_by_label(run: RunRecord) -> Figure:
    """Draws scans by primary cancer and label."""
    return figures.plot_primary_by_label(run.table("primary_by_label"))


def count_statistics(run: RunRecord) -> Figure:
    """Draws the distribution of count statistics by label."""
    return figures.plot_count_statistics(run.table("count_statistics"))


def learning_curves(run: RunRecord) -> Figure:
    """Draws the learning curves of the study's arm, with what was kept where the run says so."""
    kept = None
    if run.has("weights"):
        table = run.table("weights")
        kept = {str(arm): int(epoch) for arm, epoch in zip(table["arm"], table["best_epoch"], strict=True)}
    history = run.table(f"history_{run.arm}")
    return figures.plot_learning_curves(history, weights=run.weights, best_epoch=kept)


def roc_of_arm(run: RunRecord) -> Figure:
    """Draws the ROC curve of the study's arm with its band."""
    roc, summary, band = (run.table(f"{name}_{run.arm}") for name in ("roc", "metrics", "roc_band"))
    return figures.plot_roc(roc, summary, weights=run.weights, band=band)


def confusion_of_arm(run: RunRecord) -> Figure:
    """Draws the confusion matrix of the study's arm."""
    return figures.plot_confusion(run.table(f"confusion_{run.arm}"), weights=run.weights)


def calibration_of_arm(run: RunRecord) -> Figure:
    """Draws the reliability curve of the study's arm, with slope, intercept and ECE."""
    points, summary = (run.table(f"{name}_{run.arm}") for name in ("calibration", "calibration_metrics"))
    return figures.plot_calibration(points, weights=run.weights, summary=summary)


def roc(run: RunRecord) -> Figure:
    """Draws the ROC curves of the comparison."""
    band = run.table("roc_band")
    return figures.plot_roc(_compared(run, "roc"), run.table("metrics"), weights=run.weights, band=band)


def pr(run: RunRecord) -> Figure:
    """Draws the precision-recall curves of the comparison."""
    return figures.plot_pr(_compared(run, "pr"), run.table("metrics"), weights=run.weights)


def confusion(run: RunRecord) -> Figure:
    """Draws the confusion matrices of the comparison."""
    return figures.plot_confusion(_compared(run, "confusion"), weights=run.weights)


def calibration(run: RunRecord) -> Figure:
    """Draws the reliability curves of the comparison."""
    summary = run.table("calibration_metrics")
    return figures.plot_calibration(_compared(run, "calibration"), weights=run.weights, summary=summary)


def forest(run: RunRecord) -> Figure:
    """Draws the estimates of the comparison."""
    return figures.plot_forest(_compared(run, "metrics"), weights=run.weights)


def decision_curve(run: RunRecord) -> Figure:
    """Draws the net benefit of the comparison."""
    return figures.plot_decision_curve(_compared(run, "net_benefit"), weights=run.weights)


def subgroups(run: RunRecord) -> Figure:
    """Draws the estimates of the study's arm by subgroup."""
    return figures.plot_subgroups(run.table("subgroups"), arm=run.arm, weights=run.weights)


def robustness(run: RunRecord) -> Figure | None:
    """Draws the AUROC of the study's arm on changed test scans."""
    return figures.plot_robustness(run.table("robustness"), weights=run.weights)


def by_visible_lesions(run: RunRecord) -> Figure:
    """Draws AUROC by the number of visible metastases."""
    table = run.table("auroc_by_visible_lesions")
    return figures.plot_group_auroc(table, weights=run.weights, axis="Visible metastases")


def by_fold(run: RunRecord) -> Figure | None:
    """Draws AUROC from fold to fold."""
    return figures.plot_folds(run.table("auroc_by_fold"), weights=run.weights)


def _compared(run: RunRecord, name: str) -> pd.DataFrame:
    """Returns the rows of a table that are about arms of the comparison."""
    table = run.table(name)
    return table[table["arm"].isin(run.paper_arms())]
