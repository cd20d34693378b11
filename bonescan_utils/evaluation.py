"""Evaluation: predictions -> tables of metrics with intervals, thresholds, curves and groups (no TensorFlow).

Metrics are computed on one partition at a time, `test` unless told otherwise, and thresholds on `tuning`: a
threshold never sees the scans it is judged on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from bonescan_utils.curves import calibration_table, confusion_table, pr_table, roc_table
from bonescan_utils.groups import auroc_by_group
from bonescan_utils.intervals import (
    N_BOOT,
    Estimate,
    PatientBootstrap,
    Statistic,
    auroc,
    weighted_auprc,
    weighted_auroc,
    wilson,
)
from bonescan_utils.paired import paired_tests
from bonescan_utils.predictions import ArmScores, arm_scores, check_both_classes, check_scores, threshold_of

__all__ = [
    "METRICS",
    "Estimate",
    "auroc",
    "auroc_by_group",
    "calibration_table",
    "choose_threshold",
    "choose_thresholds",
    "confusion_table",
    "metrics_table",
    "paired_tests",
    "pr_table",
    "roc_table",
]

_AT_THRESHOLD = ["sensitivity", "specificity", "PPV", "NPV"]
METRICS = ["AUROC", "AUPRC", "accuracy", "balanced_accuracy", *_AT_THRESHOLD, "F1", "Brier"]
"""The metrics of `metrics_table`, in its order."""

WITHIN: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "accuracy": lambda true, called: (true == called, np.ones_like(true)),
    "sensitivity": lambda true, called: (true & called, true),
    "specificity": lambda true, called: (~true & ~called, ~true),
    "PPV": lambda true, called: (true & called, called),
    "NPV": lambda true, called: (~true & ~called, ~called),
}
"""Proportions: for each, the scans that count and the scans they are counted among, both `(n,)` bool."""


# -------------------------------------------------------------------------------------------- thresholds
def choose_threshold(y_true: Any, y_score: Any, *, rule: str = "youden", target: float = 0.95) -> float:
    """Chooses the operating point of an arm; give it tuning scores only.

    Args:
        y_true: reference labels of the tuning scans, 0 or 1, shape `(n,)`.
        y_score: their scores, 0-1, shape `(n,)`.
        rule: `youden` (sensitivity + specificity), `f1`, or `sensitivity` (the most specific threshold whose
            sensitivity is at least `target`).
        target: the sensitivity asked for by rule `sensitivity`, 0-1.

    Returns:
        A threshold half-way between two scores, so that rounding moves no scan across it;
        `y_score >= threshold` calls metastasis. Among equals the most sensitive is taken.

    Raises:
        ValueError: When only one label occurs, or `rule` or `target` is not one of the above.
    """
    labels, scores = check_scores(y_true, y_score)
    check_both_classes(labels, "threshold", of="the tuning scores")
    cuts = np.unique(scores)  # low to high: argmax takes the first, the most sensitive
    positive, negative = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    found = len(positive) - np.searchsorted(positive, cuts)
    false = len(negative) - np.searchsorted(negative, cuts)
    sensitivity, specificity = found / len(positive), 1 - false / len(negative)
    if not 0 < target <= 1:
        raise ValueError(f"target must be a sensitivity above 0 and up to 1, got {target}")
    rules = {
        "youden": sensitivity + specificity,
        "f1": 2 * found / (len(positive) + found + false),
        "sensitivity": np.where(sensitivity >= target, specificity, -1.0),
    }
    if rule not in rules:
        raise ValueError(f"rule must be one of {tuple(rules)}, got {rule!r}")
    best = int(np.argmax(np.round(rules[rule], 12)))
    return float(cuts[best] if best == 0 else (cuts[best - 1] + cuts[best]) / 2)


def choose_thresholds(
    predictions: pd.DataFrame, *, rule: str = "youden", target: float = 0.95, partition: str = "tuning"
) -> dict[str, float]:
    """Chooses every arm's threshold on its scores of the tuning partition; see `choose_threshold`."""
    return {
        scores.arm: choose_threshold(scores.y_true, scores.y_score, rule=rule, target=target)
        for scores in arm_scores(predictions, partition=partition)
    }


# ----------------------------------------------------------------------------------------------- metrics
def metrics_table(
    predictions: pd.DataFrame,
    thresholds: Mapping[str, float],
    *,
    seed: int,
    n_boot: int = N_BOOT,
    partition: str = "test",
) -> pd.DataFrame:
    """Evaluates every arm: discrimination, operating point and Brier score, each with a 95 % interval.

    Args:
        predictions: One row per scan and arm (see `predictions.arm_scores`).
        thresholds: Threshold of each arm, 0-1; `y_score >= threshold` calls metastasis.
        seed: Seed of the patient bootstrap.
        n_boot: Resamples of the patient bootstrap, at least 100.
        partition: The partition to evaluate.

    Returns:
        A row per arm and metric (`METRICS`): `arm, metric, estimate, ci_low, ci_high, method, n` (scans),
        `n_positive`. `method` is `DeLong` (AUROC), `Wilson` (proportions) or `patient bootstrap` (stratified
        by label, percentiles); where a patient has several scans, all are `patient bootstrap`. PPV without
        any positive call, or NPV without any negative, is NaN and `method` says so.

    Raises:
        ValueError: `"AUROC undefined: ..."` when only one label occurs; a missing threshold; bad predictions.
    """
    rows: list[dict[str, object]] = []
    for scores in arm_scores(predictions, partition=partition):
        check_both_classes(scores.y_true, "AUROC", of=f"arm {scores.arm}, partition {partition}")
        called = scores.y_score >= threshold_of(thresholds, scores.arm)
        resamples = PatientBootstrap(scores.patient_id, scores.y_true, seed=seed, n_boot=n_boot)
        found = _proportions(scores, called, resamples) | _areas_and_sums(scores, called, resamples)
        rows += [{"arm": scores.arm, "metric": name, **found[name]._asdict()} for name in METRICS]
    return pd.DataFrame(rows)


def _proportions(scores: ArmScores, called: np.ndarray, resamples: PatientBootstrap) -> dict[str, Estimate]:
    """The proportions at the threshold: Wilson, or the patient bootstrap for patients with several scans."""
    return {
        name: _proportion(scores, *within(scores.y_true == 1, called), resamples) for name, within in WITHIN.items()
    }


def _proportion(scores: ArmScores, counted: np.ndarray, among: np.ndarray, resamples: PatientBootstrap) -> Estimate:
    size, n = (len(scores.y_true), int(scores.y_true.sum())), int(among.sum())
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, "undefined: no scan was called so", *size)
    if scores.clustered:
        return resamples.estimate(lambda weights: _ratio(weights, counted, among))
    return Estimate(counted.sum() / n, *wilson(int(counted.sum()), n), "Wilson", *size)


def _areas_and_sums(scores: ArmScores, called: np.ndarray, resamples: PatientBootstrap) -> dict[str, Estimate]:
    """The metrics that need the patient bootstrap, and AUROC."""
    true, positive = scores.y_true, scores.y_true == 1
    right = (called == positive).astype(float)
    statistics: dict[str, Statistic] = {
        "AUROC": lambda w: weighted_auroc(w, true, scores.y_score),
        "AUPRC": lambda w: weighted_auprc(w, true, scores.y_score),
        "balanced_accuracy": lambda w: (
            (_ratio(w, right * positive, positive) + _ratio(w, right * ~positive, ~positive)) / 2
        ),
        "F1": lambda w: _ratio(w, 2.0 * (called & positive), called.astype(float) + positive),
        "Brier": lambda w: _ratio(w, (scores.y_score - true) ** 2, np.ones(len(true))),
    }
    found = {} if scores.clustered else {"AUROC": auroc(true, scores.y_score)}
    return {name: resamples.estimate(f) for name, f in statistics.items() if name not in found} | found


def _ratio(weights: np.ndarray, counted: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Returns weighted sum over weighted sum, per resample; NaN where nothing was drawn to count among."""
    below = weights @ among.astype(float)
    return np.divide(weights @ counted.astype(float), below, out=np.full(len(below), np.nan), where=below > 0)
