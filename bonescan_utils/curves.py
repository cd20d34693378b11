"""Curves: predictions -> the points of ROC, precision-recall and calibration curves, and the 2 x 2 counts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.metrics import precision_recall_curve, roc_curve

from bonescan_utils.intervals import wilson
from bonescan_utils.predictions import arm_scores, check_both_classes, threshold_of


def roc_table(predictions: pd.DataFrame, *, partition: str = "test") -> pd.DataFrame:
    """ROC points of every arm: `arm, fpr, sensitivity, threshold`, from (0, 0) to (1, 1), thresholds falling.

    Raises:
        ValueError: `"AUROC undefined: ..."` when only one label occurs; bad predictions.
    """
    parts = []
    for scores in arm_scores(predictions, partition=partition):
        check_both_classes(scores.y_true, "AUROC", of=f"arm {scores.arm}, partition {partition}")
        fpr, sensitivity, threshold = roc_curve(scores.y_true, scores.y_score)
        parts.append(pd.DataFrame({"arm": scores.arm, "fpr": fpr, "sensitivity": sensitivity, "threshold": threshold}))
    return pd.concat(parts, ignore_index=True)


def pr_table(predictions: pd.DataFrame, *, partition: str = "test") -> pd.DataFrame:
    """Precision-recall points of every arm: `arm, sensitivity, ppv, threshold`, sensitivity falling to 0.

    The last point, sensitivity 0 and PPV 1, is the curve's conventional end and has threshold infinity.

    Raises:
        ValueError: `"AUPRC undefined: ..."` when only one label occurs; bad predictions.
    """
    parts = []
    for scores in arm_scores(predictions, partition=partition):
        check_both_classes(scores.y_true, "AUPRC", of=f"arm {scores.arm}, partition {partition}")
        ppv, sensitivity, threshold = precision_recall_curve(scores.y_true, scores.y_score)
        columns = {"sensitivity": sensitivity, "ppv": ppv, "threshold": np.append(threshold, np.inf)}
        parts.append(pd.DataFrame({"arm": scores.arm} | columns))
    return pd.concat(parts, ignore_index=True)


def confusion_table(
    predictions: pd.DataFrame, thresholds: Mapping[str, float], *, partition: str = "test"
) -> pd.DataFrame:
    """The 2 x 2 counts of every arm at its threshold: `arm, threshold, tp, fn, fp, tn`, in scans."""
    rows = []
    for scores in arm_scores(predictions, partition=partition):
        threshold = threshold_of(thresholds, scores.arm)
        called, positive = scores.y_score >= threshold, scores.y_true == 1
        cells = {
            "tp": called & positive,
            "fn": ~called & positive,
            "fp": called & ~positive,
            "tn": ~called & ~positive,
        }
        rows.append(
            {"arm": scores.arm, "threshold": threshold} | {name: int(cell.sum()) for name, cell in cells.items()}
        )
    return pd.DataFrame(rows)


def calibration_table(predictions: pd.DataFrame, *, bins: int = 10, partition: str = "test") -> pd.DataFrame:
    """Score against observed share of metastasis, in bins of equally many scans (tied scores stay together).

    Returns:
        `arm, bin` (from 0)`, n, mean_score, observed, ci_low, ci_high` (Wilson, scans taken as independent).
    """
    rows: list[dict[str, object]] = []
    for scores in arm_scores(predictions, partition=partition):
        edges = np.unique(np.quantile(scores.y_score, np.linspace(0, 1, bins + 1)[1:-1]))
        where = np.searchsorted(edges, scores.y_score, side="left")
        for number, members in enumerate(np.flatnonzero(where == value) for value in np.unique(where)):
            true = scores.y_true[members]
            low, high = wilson(int(true.sum()), len(true))
            row = {"n": len(true), "mean_score": scores.y_score[members].mean(), "observed": true.mean()}
            rows.append({"arm": scores.arm, "bin": number} | row | {"ci_low": low, "ci_high": high})
    return pd.DataFrame(rows)
