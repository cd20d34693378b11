"""Recalibration: scores mapped to better probabilities by a rule that is fitted on tuning scores only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit

from bonescan_utils.calibration import log_odds
from bonescan_utils.intervals import is_constant
from bonescan_utils.predictions import arm_scores, check_both_classes

METHODS = ("temperature", "platt")
COLUMNS = ["arm", "method", "slope", "intercept", "temperature", "n", "n_positive", "note"]


class Rule(NamedTuple):
    """The new log odds are `slope` x the old ones + `intercept`."""

    slope: float
    intercept: float
    note: str


def fit_rule(y_true: np.ndarray, y_score: np.ndarray, *, method: str = "temperature") -> Rule:
    """Fits a recalibration rule by maximum likelihood; give it tuning scores only.

    Args:
        y_true: labels of the tuning scans, 0 or 1, shape `(n,)`; both must occur.
        y_score: their scores, 0-1, shape `(n,)`.
        method: `temperature` (log odds divided by one number, which keeps a score of 0.5) or `platt` (slope and
            intercept, labels smoothed as Platt did, so that separated labels have a finite best rule).

    Returns:
        The rule; one that changes nothing, and its note, where all scores are the same.

    Raises:
        ValueError: `method` is neither, or only one label occurs.

    Source:
        Guo et al., ICML 2017, PMLR 70:1321-1330. Platt, Advances in Large Margin Classifiers, 1999:61-74.
    """
    if method not in METHODS:
        raise ValueError(f"recalibration method must be one of {METHODS}, got {method!r}")
    check_both_classes(y_true, "recalibration", of="the tuning scores")
    if is_constant(y_score):
        return Rule(1.0, 0.0, "unchanged: every tuning scan has the same score")
    odds = log_odds(y_score)
    return _temperature(y_true, odds) if method == "temperature" else _platt(y_true, odds)


def recalibrate(predictions: pd.DataFrame, *, method: str = "temperature") -> pd.DataFrame:
    """Replaces every arm's scores by recalibrated ones, in all partitions.

    The rule of each arm is fitted on its tuning scores alone. Ranks within an arm stay as they are unless the note in
    `recalibration_table` says that they were turned round; thresholds must be chosen again.

    Args:
        predictions: One row per scan and arm (see `predictions.arm_scores`), with tuning scans of either label.
        method: See `fit_rule`.

    Returns:
        A copy with new `y_score`, rows in the same order.
    """
    rules = recalibration_table(predictions, method=method).set_index("arm")
    slope, intercept = (predictions["arm"].map(rules[name]).to_numpy(dtype=float) for name in ("slope", "intercept"))
    score = predictions["y_score"].to_numpy(dtype=float)
    changed = (slope != 1) | (intercept != 0)  # where nothing changes, nothing is rounded either
    return predictions.assign(y_score=np.where(changed, expit(slope * log_odds(score) + intercept), score))


def recalibration_table(predictions: pd.DataFrame, *, method: str = "temperature") -> pd.DataFrame:
    """Returns the rule of each arm, fitted on its tuning scores: see `fit_rule`.

    Returns:
        `arm, method, slope, intercept, temperature` (1 / slope; NaN for Platt's rule), `n` and `n_positive` (tuning
        scans), `note`.

    Raises:
        ValueError: An arm has no tuning scores of its own, or of one label only.
    """
    rows = []
    tuned = {scores.arm: scores for scores in arm_scores(predictions, partition="tuning")}
    absent = sorted(set(predictions["arm"].astype(str)) - set(tuned))
    if absent:
        raise ValueError(f"recalibration needs tuning scores of every arm, found none of {', '.join(absent)}")
    for arm, scores in tuned.items():
        rule = fit_rule(scores.y_true, scores.y_score, method=method)
        size = (len(scores.y_true), int(scores.y_true.sum()))
        temperature = 1 / rule.slope if method == "temperature" else np.nan
        rows.append((arm, method, rule.slope, rule.intercept, temperature, *size, rule.note))
    return pd.DataFrame(rows, columns=COLUMNS)


def _temperature(y_true: np.ndarray, odds: np.ndarray) -> Rule:
    """The slope between 1/100 and 100 of greatest likelihood, found on a log scale."""

    def loss(log_slope: float) -> float:
        return _loss(np.exp(log_slope) * odds, y_true)

    bound = float(np.log(100))
    slope = float(np.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-9}).x))
    note = "" if 0.0101 < slope < 99 else "at the end of the range searched, 1/100 to 100"
    return Rule(slope, 0.0, note)


def _platt(y_true: np.ndarray, odds: np.ndarray) -> Rule:
    n_positive = int(y_true.sum())
    n_negative = len(y_true) - n_positive
    target = np.where(y_true == 1, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    best = minimize(lambda at: _loss(at[0] * odds + at[1], target), np.array([1.0, 0.0]), method="BFGS", tol=1e-9).x
    turned = "ranks turned round: the tuning scores fall with metastasis" if best[0] < 0 else ""
    return Rule(float(best[0]), float(best[1]), turned)


def _loss(odds: np.ndarray, target: np.ndarray) -> float:
    """Mean negative log likelihood of labels, or shares, given log odds."""
    return float(np.mean(np.logaddexp(0, odds) - target * odds))
