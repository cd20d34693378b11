"""Curves: predictions -> the points of ROC and precision-recall curves, and the 2 x 2 counts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.metrics import precision_recall_curve, roc_curve

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
