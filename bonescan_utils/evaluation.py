"""Evaluation: predictions -> the table of metrics with intervals; where notebooks find its neighbours (no TensorFlow).

Metrics are computed on one partition at a time, `test` unless told otherwise, and thresholds on `tuning`: a
threshold never sees the scans it is judged on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from bonescan_utils.bootstrap import (
    N_BOOT,
    PatientBootstrap,
    ScoreStatistic,
    weighted_auprc,
    weighted_auroc,
    weighted_brier,
    weighted_f1,
    weighted_ratio,
)
from bonescan_utils.calibration import calibration_table
from bonescan_utils.curves import confusion_table, pr_table, roc_table
from bonescan_utils.groups import auroc_by_group
from bonescan_utils.intervals import CONSTANT, Estimate, auroc, is_constant, undefined, wilson
from bonescan_utils.paired import paired_tests
from bonescan_utils.predictions import ArmScores, arm_scores, check_both_classes, threshold_of
from bonescan_utils.rates import likelihood_ratio, youden
from bonescan_utils.thresholds import choose_threshold, choose_thresholds

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
METRICS = [
    "AUROC",
    "AUPRC",
    "accuracy",
    "balanced_accuracy",
    *_AT_THRESHOLD,
    "F1",
    "Brier",
    "LR+",
    "LR-",
    "Youden",
    "kappa",
]
"""The metrics of `metrics_table`, in its order."""

WITHIN: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "accuracy": lambda true, called: (true == called, np.ones_like(true)),
    "sensitivity": lambda true, called: (true & called, true),
    "specificity": lambda true, called: (~true & ~called, ~true),
    "PPV": lambda true, called: (true & called, called),
    "NPV": lambda true, called: (~true & ~called, ~called),
}
"""Proportions: for each, the scans that count and the scans they are counted among, both `(n,)` bool."""


def metrics_table(
    predictions: pd.DataFrame,
    thresholds: Mapping[str, float],
    *,
    seed: int,
    n_boot: int = N_BOOT,
    partition: str = "test",
    interval: str = "bca",
) -> pd.DataFrame:
    """Evaluates every arm: discrimination, operating point and Brier score, each with a 95 % interval.

    Args:
        predictions: One row per scan and arm (see `predictions.arm_scores`).
        thresholds: Threshold of each arm, 0-1; `y_score >= threshold` calls metastasis.
        seed: Seed of the patient bootstrap.
        n_boot: Resamples of the patient bootstrap, at least 100.
        partition: The partition to evaluate.
        interval: How bounds are taken from resamples: `bca` (bias-corrected and accelerated), or `percentile`, which
            held the AUPRC in 93 instead of 95 % of simulated studies.

    Returns:
        A row per arm and metric (`METRICS`): `arm, metric, estimate, ci_low, ci_high, method, n` (scans),
        `n_positive`. `method` is `DeLong` (AUROC), `Wilson` (proportions), `Koopman score` (likelihood ratios),
        `Newcombe hybrid` (Youden's index and, half of it, balanced accuracy) or `patient bootstrap` (stratified by
        label); where a patient has several scans, all are `patient bootstrap`. What does not exist, such as PPV
        without any positive call, is NaN, and `method` is `undefined: ` and the reason.

    Raises:
        ValueError: `"AUROC undefined: ..."` when only one label occurs; a missing threshold; bad predictions.
    """
    rows: list[dict[str, object]] = []
    for scores in arm_scores(predictions, partition=partition):
        check_both_classes(scores.y_true, "AUROC", of=f"arm {scores.arm}, partition {partition}")
        found = _metrics_of(scores, threshold_of(thresholds, scores.arm), seed=seed, n_boot=n_boot, interval=interval)
        rows += [{"arm": scores.arm, "metric": name, **found[name]._asdict()} for name in METRICS]
    return pd.DataFrame(rows)


def _metrics_of(scores: ArmScores, threshold: float, *, seed: int, n_boot: int, interval: str) -> dict[str, Estimate]:
    """Computes the metrics of one arm: in closed form where there is one, and by the patient bootstrap."""
    n, n_positive = len(scores.y_true), int(scores.y_true.sum())
    called = scores.y_score >= threshold
    found = {} if scores.clustered else _closed_forms(scores, called)
    if is_constant(scores.y_score):
        found |= {name: undefined(CONSTANT, n, n_positive) for name in ("AUROC", "AUPRC")}
    calls = int(called.sum())
    for word, some, names in (("positive", calls > 0, ("PPV", "LR+")), ("negative", calls < n, ("NPV", "LR-"))):
        found |= {} if some else {name: undefined(f"no scan was called {word}", n, n_positive) for name in names}
    resamples = PatientBootstrap(scores.patient_id, scores.y_true, seed=seed, n_boot=n_boot)
    for name, statistic in _statistics(threshold).items():
        if name not in found:
            found[name] = resamples.of_scores(statistic, scores.y_score, interval=interval)
    for name in ("LR+", "LR-"):
        found[name] = _ratio_of_share(name, found[name]) if scores.clustered else found[name]
    return found


def _closed_forms(scores: ArmScores, called: np.ndarray) -> dict[str, Estimate]:
    """The metrics whose interval has a closed form, for scans that are independent."""
    true = scores.y_true == 1
    n, n_positive = len(true), int(true.sum())
    n_negative, tp, fp = n - n_positive, int(np.sum(called & true)), int(np.sum(called & ~true))
    found = {"AUROC": auroc(scores.y_true, scores.y_score)}
    for name, within in WITHIN.items():
        counted, among = (int(mask.sum()) for mask in within(true, called))
        if among:
            found[name] = Estimate(counted / among, *wilson(counted, among), "Wilson", n, n_positive)
    index = youden(tp, n_positive, fp, n_negative)
    found["Youden"] = Estimate(*index, "Newcombe hybrid", n, n_positive)
    half, low, high = ((1 + value) / 2 for value in index)
    found["balanced_accuracy"] = Estimate(half, low, high, "Newcombe hybrid", n, n_positive)
    for name, first, second in (("LR+", tp, fp), ("LR-", n_positive - tp, n_negative - fp)):
        ratio = likelihood_ratio(first, n_positive, second, n_negative)
        found[name] = _finite_ratio(name, Estimate(*ratio, "Koopman score", n, n_positive))
    return found


def _finite_ratio(name: str, found: Estimate) -> Estimate:
    """Returns a likelihood ratio, or where it is infinite the reason and how large it is at least."""
    if not math.isinf(found.estimate):
        return found
    absent = "false alarm" if name == "LR+" else "true negative"
    return undefined(f"infinite without any {absent}; at least {found.ci_low:.3g}", *found[-2:])


def _ratio_of_share(name: str, found: Estimate) -> Estimate:
    """Turns sensitivity / (sensitivity + false alarm rate), which is bounded, into the ratio of the two."""
    if not math.isfinite(found.estimate):
        return found
    ratio, low, high = (share / (1 - share) if share < 1 else math.inf for share in found[:3])
    return _finite_ratio(name, found._replace(estimate=ratio, ci_low=low, ci_high=high))


def _statistics(threshold: float) -> dict[str, ScoreStatistic]:
    """Every metric as a function of weights, labels and scores; likelihood ratios as shares, see `_ratio_of_share`."""

    def proportion(name: str) -> ScoreStatistic:
        return lambda w, true, score: weighted_ratio(w, *WITHIN[name](true == 1, score >= threshold))

    found, spared = proportion("sensitivity"), proportion("specificity")

    def index(w: np.ndarray, true: np.ndarray, score: np.ndarray) -> np.ndarray:
        return found(w, true, score) + spared(w, true, score) - 1

    def share(found: np.ndarray, false: np.ndarray) -> np.ndarray:
        both = found + false
        return np.divide(found, both, out=np.full(len(both), np.nan), where=both > 0)

    return {name: proportion(name) for name in WITHIN} | {
        "AUROC": weighted_auroc,
        "AUPRC": weighted_auprc,
        "balanced_accuracy": lambda w, true, score: (1 + index(w, true, score)) / 2,
        "F1": lambda w, true, score: weighted_f1(w, true, score >= threshold),
        "Brier": weighted_brier,
        "LR+": lambda w, true, score: share(found(w, true, score), 1 - spared(w, true, score)),
        "LR-": lambda w, true, score: share(1 - found(w, true, score), spared(w, true, score)),
        "Youden": index,
        "kappa": lambda w, true, score: _kappa(w, true == 1, score >= threshold),
    }


def _kappa(weights: np.ndarray, true: np.ndarray, called: np.ndarray) -> np.ndarray:
    """Cohen's kappa of calls and reference standard (Cohen, Educ Psychol Meas 1960;20:37-46)."""
    total = weights.sum(axis=1)
    agreed = weights @ (true == called).astype(float) / total
    positive, calls = (weights @ mask.astype(float) / total for mask in (true, called))
    chance = positive * calls + (1 - positive) * (1 - calls)
    return np.asarray((agreed - chance) / (1 - chance))  # both labels occur, so chance is below 1
