"""Thresholds: the operating point of an arm, chosen by a stated rule from tuning scores only (no TensorFlow)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bonescan_utils.predictions import arm_scores, check_both_classes, check_scores


def choose_threshold(
    y_true: Any,
    y_score: Any,
    *,
    rule: str = "youden",
    target: float = 0.95,
    cost_ratio: float = 1.0,
    prevalence: float | None = None,
) -> float:
    """Chooses the operating point of an arm; give it tuning scores only.

    Args:
        y_true: reference labels of the tuning scans, 0 or 1, shape `(n,)`.
        y_score: their scores, 0-1, shape `(n,)`.
        rule: `youden` (sensitivity + specificity), `f1`, `cost` (least expected cost), `sensitivity` (the most
            specific threshold whose sensitivity is at least `target`) or `specificity` (the most sensitive one
            whose specificity is at least `target`).
        target: the sensitivity or specificity asked for by those two rules, 0-1.
        cost_ratio: for rule `cost`, what a missed metastasis costs, a false alarm costing 1.
        prevalence: for rule `cost`, the share of metastasis where the threshold will be used, 0-1; that of the
            tuning scans if not given.

    Returns:
        A threshold half-way between two scores, so that rounding moves no scan across it;
        `y_score >= threshold` calls metastasis. Among equals the most sensitive is taken; one above all scores
        calls none.

    Raises:
        ValueError: When only one label occurs, or `rule` or a number is not one of the above.

    Source:
        Youden, Cancer 1950;3:32-35. Cost: Metz, Semin Nucl Med 1978;8:283-298.
    """
    labels, scores = check_scores(y_true, y_score)
    check_both_classes(labels, "threshold", of="the tuning scores")
    share = float(labels.mean()) if prevalence is None else prevalence
    _check_numbers(target, cost_ratio, share)
    above = np.nextafter(scores.max(), np.inf)
    cuts = np.append(np.unique(scores), above)  # low to high: argmax takes the first, the most sensitive
    positive, negative = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    found = len(positive) - np.searchsorted(positive, cuts)
    false = len(negative) - np.searchsorted(negative, cuts)
    sensitivity, specificity = found / len(positive), 1 - false / len(negative)
    rules = {
        "youden": sensitivity + specificity,
        "f1": 2 * found / (len(positive) + found + false),
        "cost": -(cost_ratio * share * (1 - sensitivity) + (1 - share) * (1 - specificity)),
        "sensitivity": np.where(sensitivity >= target, specificity, -1.0),
        "specificity": np.where(specificity >= target, sensitivity, -1.0),
    }
    if rule not in rules:
        raise ValueError(f"rule must be one of {tuple(rules)}, got {rule!r}")
    best = int(np.argmax(np.round(rules[rule], 12)))
    return float(cuts[best] if best in (0, len(cuts) - 1) else (cuts[best - 1] + cuts[best]) / 2)


def choose_thresholds(
    predictions: pd.DataFrame, *, partition: str = "tuning", rule: str = "youden", **options: Any
) -> dict[str, float]:
    """Chooses every arm's threshold on its scores of the tuning partition; options as in `choose_threshold`."""
    return {
        scores.arm: choose_threshold(scores.y_true, scores.y_score, rule=rule, **options)
        for scores in arm_scores(predictions, partition=partition)
    }


def _check_numbers(target: float, cost_ratio: float, prevalence: float) -> None:
    if not 0 < target <= 1:
        raise ValueError(f"target must be a sensitivity or specificity above 0 and up to 1, got {target}")
    if not (cost_ratio > 0 and np.isfinite(cost_ratio)):
        raise ValueError(f"cost_ratio must be a number above 0 (a miss costs so many false alarms), got {cost_ratio}")
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence must be between 0 and 1, got {prevalence}")
