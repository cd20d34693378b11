"""Operating points: sensitivity at fixed specificity and the reverse, predictive values elsewhere, the ROC's band."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bonescan_utils.bootstrap import N_BOOT, WITH_ADDED, PatientBootstrap, weighted_ratio, weighted_roc
from bonescan_utils.intervals import CONSTANT, Estimate, is_constant, undefined
from bonescan_utils.predictions import ArmScores, arm_scores, check_both_classes, threshold_of
from bonescan_utils.rates import likelihood_ratio

TARGETS = (0.90, 0.95)
PREVALENCES = (0.05, 0.10, 0.20, 0.30, 0.50)


def fixed_points_table(
    predictions: pd.DataFrame,
    *,
    seed: int,
    targets: Sequence[float] = TARGETS,
    n_boot: int = N_BOOT,
    partition: str = "test",
) -> pd.DataFrame:
    """Sensitivity at fixed specificities and specificity at fixed sensitivities, read off each arm's ROC curve.

    These points are on the curve of the evaluated scans: they compare arms, and promise no threshold. Between two
    points of the curve the straight line is taken.

    Args:
        predictions: One row per scan and arm (see `predictions.arm_scores`).
        seed: Seed of the patient bootstrap.
        targets: The specificities, and sensitivities, that are held, 0-1.
        n_boot: Resamples of the patient bootstrap, at least 100.
        partition: The partition to evaluate.

    Returns:
        `arm, metric` (sensitivity or specificity)`, fixed` (the other)`, at, estimate, ci_low, ci_high, method, n,
        n_positive`. An arm with one score for all scans has NaN, and `method` says so.

    Raises:
        ValueError: A target is not between 0 and 1, only one label occurs, or bad predictions.
    """
    _check_shares("targets", targets)
    rows: list[dict[str, object]] = []
    for scores in arm_scores(predictions, partition=partition):
        check_both_classes(scores.y_true, "sensitivity", of=f"arm {scores.arm}, partition {partition}")
        resamples = PatientBootstrap(scores.patient_id, scores.y_true, seed=seed, n_boot=n_boot)
        for metric, fixed in (("sensitivity", "specificity"), ("specificity", "sensitivity")):
            for at in targets:
                found = _fixed_point(scores, metric, at, resamples)
                about = {"arm": scores.arm, "metric": metric, "fixed": fixed, "at": at}
                rows.append(about | found._asdict())
    return pd.DataFrame(rows)


def _fixed_point(scores: ArmScores, metric: str, at: float, resamples: PatientBootstrap) -> Estimate:
    size = (len(scores.y_true), int(scores.y_true.sum()))
    if is_constant(scores.y_score):
        return undefined(CONSTANT, *size)
    grid = np.array([1 - at])

    def sensitivity(w: np.ndarray, true: np.ndarray, score: np.ndarray) -> np.ndarray:
        return weighted_roc(w, true, score, grid)

    def specificity(w: np.ndarray, true: np.ndarray, score: np.ndarray) -> np.ndarray:
        return weighted_roc(w, 1 - true, -score, grid)  # the curve seen from the other class

    curve = sensitivity if metric == "sensitivity" else specificity
    own, low, high = (float(values[0]) for values in resamples.bands_of_scores(curve, scores.y_score))
    return Estimate(own, low, high, WITH_ADDED, *size)


def roc_band_table(
    predictions: pd.DataFrame, *, seed: int, points: int = 101, n_boot: int = N_BOOT, partition: str = "test"
) -> pd.DataFrame:
    """Sensitivity over an even grid of false alarm rates, with a pointwise 95 % band.

    Args:
        predictions: One row per scan and arm (see `predictions.arm_scores`).
        seed: Seed of the patient bootstrap.
        points: Points of the grid from 0 to 1, at least 2.
        n_boot: Resamples of the patient bootstrap, at least 100.
        partition: The partition to evaluate.

    Returns:
        `arm, fpr, estimate` (sensitivity)`, ci_low, ci_high, method, n, n_positive`. An arm with one score for all
        scans has NaN, and `method` says so.

    Raises:
        ValueError: `points` is too small, only one label occurs, or bad predictions.
    """
    if points < 2:
        raise ValueError(f"points must be at least 2, got {points}")
    grid, parts = np.linspace(0, 1, points), []
    for scores in arm_scores(predictions, partition=partition):
        check_both_classes(scores.y_true, "the ROC curve", of=f"arm {scores.arm}, partition {partition}")
        parts.append(_band(scores, grid, seed=seed, n_boot=n_boot))
    return pd.concat(parts, ignore_index=True)


def _band(scores: ArmScores, grid: np.ndarray, *, seed: int, n_boot: int) -> pd.DataFrame:
    """The ROC curve of one arm with its band."""
    about = {"arm": scores.arm, "fpr": grid}
    if is_constant(scores.y_score):
        absent = undefined(CONSTANT, len(scores.y_true), int(scores.y_true.sum()))
        return pd.DataFrame(about | absent._asdict())
    resamples = PatientBootstrap(scores.patient_id, scores.y_true, seed=seed, n_boot=n_boot)
    own, low, high = resamples.bands_of_scores(lambda w, y, score: weighted_roc(w, y, score, grid), scores.y_score)
    size = {"n": len(scores.y_true), "n_positive": int(scores.y_true.sum())}
    return pd.DataFrame(about | {"estimate": own, "ci_low": low, "ci_high": high, "method": WITH_ADDED} | size)


def predictive_values_table(
    predictions: pd.DataFrame,
    thresholds: Mapping[str, float],
    *,
    prevalences: Sequence[float] = PREVALENCES,
    seed: int = 0,
    n_boot: int = N_BOOT,
    partition: str = "test",
) -> pd.DataFrame:
    """PPV and NPV where metastasis is rarer, or more frequent, than among the evaluated scans.

    Sensitivity and specificity are taken to be the same there; where disease is milder they will not be. Both values
    are monotone in a likelihood ratio, so its score interval is theirs; patients with several scans are bootstrapped.

    Args:
        predictions: One row per scan and arm (see `predictions.arm_scores`).
        thresholds: Threshold of each arm, 0-1; `y_score >= threshold` calls metastasis.
        prevalences: Shares of metastasis, between 0 and 1.
        seed: Seed of the patient bootstrap (used only where patients have several scans).
        n_boot: Resamples of that bootstrap.
        partition: The partition to evaluate.

    Returns:
        `arm, prevalence, metric` (PPV or NPV)`, estimate, ci_low, ci_high, method, n, n_positive`; a value that does
        not exist because no scan was called so is NaN, and `method` says so.

    Raises:
        ValueError: A prevalence is not between 0 and 1, only one label occurs, or bad predictions.

    Source:
        Bayes' rule; intervals by transformation as in Mercaldo et al., Stat Med 2007;26:2170-2183.
    """
    _check_shares("prevalences", prevalences)
    rows: list[dict[str, object]] = []
    for scores in arm_scores(predictions, partition=partition):
        check_both_classes(scores.y_true, "predictive value", of=f"arm {scores.arm}, partition {partition}")
        called = scores.y_score >= threshold_of(thresholds, scores.arm)
        for prevalence in prevalences:
            for metric in ("PPV", "NPV"):
                found = _predictive_value(scores, called, metric, prevalence, seed=seed, n_boot=n_boot)
                rows.append({"arm": scores.arm, "prevalence": prevalence, "metric": metric} | found._asdict())
    return pd.DataFrame(rows)


def _predictive_value(
    scores: ArmScores, called: np.ndarray, metric: str, prevalence: float, *, seed: int, n_boot: int
) -> Estimate:
    """PPV is 1 / (1 + (1 - p) / (p LR+)); NPV is the same of the other class: 1 / (1 + p LR- / (1 - p))."""
    true, chosen = scores.y_true == 1, called if metric == "PPV" else ~called
    right = true if metric == "PPV" else ~true
    share = prevalence if metric == "PPV" else 1 - prevalence
    n, n_positive = len(true), int(true.sum())
    if not chosen.any():
        return undefined(f"no scan was called {'positive' if metric == 'PPV' else 'negative'}", n, n_positive)
    if scores.clustered:
        resamples = PatientBootstrap(scores.patient_id, right.astype(np.int64), seed=seed, n_boot=n_boot)
        found = resamples.of_scores(lambda w, true, score: _share_right(w, true, score, share), chosen.astype(float))
        return found._replace(n_positive=n_positive)
    counts = (int(np.sum(chosen & right)), int(right.sum()), int(np.sum(chosen & ~right)), int(np.sum(~right)))
    value, low, high = (_transported(ratio, share) for ratio in likelihood_ratio(*counts))
    return Estimate(value, low, high, "Koopman score", n, n_positive)


def _transported(ratio: float, share: float) -> float:
    if ratio == 0 or math.isinf(ratio):
        return float(ratio > 0)
    return 1 / (1 + (1 - share) / (share * ratio))


def _share_right(weights: np.ndarray, right: np.ndarray, chosen: np.ndarray, share: float) -> np.ndarray:
    """Share of right calls among the chosen scans, were `share` of all scans of that class; `(resamples,)`."""
    found = share * weighted_ratio(weights, chosen * right, right)
    false = (1 - share) * weighted_ratio(weights, chosen * (1 - right), 1 - right)
    return np.divide(found, found + false, out=np.full(len(found), np.nan), where=found + false > 0)


def _check_shares(what: str, values: Sequence[float]) -> None:
    wrong = [value for value in values if not 0 < value < 1]
    if wrong or not len(values):
        raise ValueError(f"{what} must be between 0 and 1, got {list(wrong or values)}")
