"""Intervals: estimates with 95 % confidence intervals: DeLong, Newcombe, Wilson, patient bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from bonescan_utils.predictions import check_both_classes, check_scores

LEVEL = 0.95
"""Confidence level of every interval."""
Z = float(ndtri(0.5 + LEVEL / 2))
N_BOOT = 2000
CHUNK_CELLS = 500_000
"""Resample-by-scan cells worked on at once: bounds the memory of the bootstrap to tens of MB."""

Statistic = Callable[[np.ndarray], np.ndarray]
"""Takes how often each scan was drawn, float64 `(resamples, n_scans)`; returns one value per resample."""


class Estimate(NamedTuple):
    """One estimate with its interval; `_asdict()` gives a table row."""

    estimate: float
    ci_low: float
    ci_high: float
    method: str
    n: int
    n_positive: int


def auroc(y_true: Any, y_score: Any) -> Estimate:
    """Area under the ROC curve with DeLong's interval.

    Ties count one half. Where DeLong's variance is zero (perfect separation, a constant score) or undefined
    (one scan of a label), an interval of zero width would claim certainty: Newcombe's is given instead.

    Args:
        y_true: reference labels, 0 or 1, shape `(n,)`; one scan per patient.
        y_score: scores, higher = more likely metastasis, shape `(n,)`.

    Raises:
        ValueError: `"AUROC undefined: ..."` when only one label occurs; bad labels or scores.

    Source:
        DeLong et al., Biometrics 1988;44:837-845. Newcombe, Stat Med 2006;25:559-573, method 5.
    """
    labels, scores = check_scores(y_true, y_score)
    check_both_classes(labels, "AUROC")
    area, variance = delong(labels, scores)
    n, n_positive = len(labels), int(labels.sum())
    if variance > 0:
        half = Z * math.sqrt(variance)
        return Estimate(area, max(0.0, area - half), min(1.0, area + half), "DeLong", n, n_positive)
    low, high = newcombe(area, n_positive, n - n_positive)
    return Estimate(area, low, high, "Newcombe", n, n_positive)


def delong(y_true: np.ndarray, y_score: np.ndarray) -> tuple[float, float]:
    """Returns AUROC and its DeLong variance (0 where that is undefined: fewer than two scans of a label)."""
    import pauc  # takes seconds to import

    curve = pauc.ROC(y_true, y_score, direction="<")  # 'auto' would turn an AUROC of 0.2 into 0.8
    if min(curve.n_cases, curve.n_controls) < 2:
        return float(curve.auc), 0.0
    return float(curve.auc), float(pauc.var(curve))


def delong_difference(y_true: np.ndarray, score_a: np.ndarray, score_b: np.ndarray) -> tuple[float, float]:
    """Returns AUROC(a) - AUROC(b) on the same scans and the variance of that difference (DeLong)."""
    import pauc

    a, b = (pauc.ROC(y_true, scores, direction="<") for scores in (score_a, score_b))
    if min(a.n_cases, a.n_controls) < 2:
        return float(a.auc - b.auc), 0.0
    separate = float(pauc.var(a) + pauc.var(b))
    variance = separate - 2 * float(pauc.cov(a, b))
    return float(a.auc - b.auc), variance if variance > 1e-12 * separate else 0.0  # below: rounding error


def newcombe(area: float, n_positive: int, n_negative: int) -> tuple[float, float]:
    """Score-type interval of an AUROC from its value and the class sizes alone (Newcombe 2006, method 5)."""
    mean_size = (n_positive + n_negative) / 2 - 1

    def excess(theta: float, observed: float) -> float:
        spread = 1 + mean_size * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return observed - theta - Z * math.sqrt(theta * (1 - theta) * spread / (n_positive * n_negative))

    def lower(observed: float) -> float:
        if observed <= 1e-9:
            return 0.0
        return float(brentq(excess, 0.0, observed - 1e-12, args=(observed,), xtol=1e-12))

    return lower(area), 1 - lower(1 - area)  # the variance is symmetric in theta and 1 - theta


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson score interval of a proportion; `(nan, nan)` when `n` is 0."""
    from statsmodels.stats.proportion import proportion_confint

    if n == 0:
        return math.nan, math.nan
    low, high = proportion_confint(successes, n, alpha=1 - LEVEL, method="wilson")
    return min(float(low), successes / n), max(float(high), successes / n)  # rounding at 0 and 1


class PatientBootstrap:
    """Resamples of patients: a patient's scans are drawn together, as often as the patient is.

    Patients are drawn within three strata (scans all negative, mixed, all positive), so every resample holds
    both labels whenever the sample does. The resamples depend on the set of patients, their scans and the
    seed, not on the order of rows; two arms with the same scans get the same resamples.

    Args:
        patient_id: patient of each scan, shape `(n_scans,)`.
        y_true: labels 0 or 1, shape `(n_scans,)`.
        seed: seed of the resamples.
        n_boot: number of resamples.
    """

    def __init__(self, patient_id: np.ndarray, y_true: np.ndarray, *, seed: int, n_boot: int = N_BOOT) -> None:
        if n_boot < 100:
            raise ValueError(f"n_boot must be at least 100 for a 95 % interval, got {n_boot}")
        self._y_true = y_true
        patients, self._patient = np.unique(patient_id, return_inverse=True)
        positive = np.bincount(self._patient, weights=y_true, minlength=len(patients))
        stratum = np.sign(positive) + (positive == np.bincount(self._patient, minlength=len(patients)))
        self._draws = np.zeros((n_boot, len(patients)), dtype=np.uint16)  # (n_boot, n_patients)
        rng = np.random.default_rng(seed)
        for value in np.unique(stratum):
            members = np.flatnonzero(stratum == value)
            share = np.full(len(members), 1 / len(members))
            self._draws[:, members] = rng.multinomial(len(members), share, size=n_boot)

    def estimate(self, statistic: Statistic) -> Estimate:
        """Returns the statistic of the sample itself with its percentile interval."""
        value = float(statistic(np.ones((1, len(self._y_true))))[0])
        low, high = percentile_interval(self.values(statistic), value)
        return Estimate(value, low, high, "patient bootstrap", len(self._y_true), int(self._y_true.sum()))

    def values(self, statistic: Statistic) -> np.ndarray:
        """Returns the statistic of every resample, shape `(n_boot,)`."""
        step = max(1, CHUNK_CELLS // len(self._patient))
        parts = [
            statistic(self._draws[start : start + step, self._patient].astype(np.float64))
            for start in range(0, len(self._draws), step)
        ]
        return np.concatenate(parts)


def percentile_interval(values: np.ndarray, estimate: float) -> tuple[float, float]:
    """Percentile interval of bootstrap values, widened where needed to hold the estimate itself.

    Resamples in which the statistic is undefined (NaN) are left out; `(nan, nan)` if it never was defined.
    """
    defined = values[np.isfinite(values)]
    if not len(defined) or not math.isfinite(estimate):
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return min(float(low), estimate), max(float(high), estimate)


def weighted_auroc(weights: np.ndarray, y_true: np.ndarray, y_score: np.ndarray) -> np.ndarray:
    """AUROC (ties one half) of each row of weights `(resamples, n_scans)`; shape `(resamples,)`."""
    positive, negative = _by_score(weights, y_true, y_score)
    below = np.cumsum(negative, axis=1) - negative  # negatives with a lower score
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    return np.asarray((positive * (below + negative / 2)).sum(axis=1) / pairs)


def weighted_auprc(weights: np.ndarray, y_true: np.ndarray, y_score: np.ndarray) -> np.ndarray:
    """Average precision of each row of weights `(resamples, n_scans)`; shape `(resamples,)`."""
    positive, negative = (counts[:, ::-1] for counts in _by_score(weights, y_true, y_score))  # high to low
    found = np.cumsum(positive, axis=1)
    called = found + np.cumsum(negative, axis=1)
    ppv = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return np.asarray((positive * ppv).sum(axis=1) / found[:, -1])


def _by_score(weights: np.ndarray, y_true: np.ndarray, y_score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums weights of positives and of negatives per distinct score, low to high: `(resamples, n_scores)`."""
    order = np.argsort(y_score, kind="stable")
    starts = np.flatnonzero(np.diff(y_score[order], prepend=-np.inf))
    sorted_weights, labels = weights[:, order], y_true[order]
    positive = np.add.reduceat(sorted_weights * labels, starts, axis=1)
    return positive, np.add.reduceat(sorted_weights * (1 - labels), starts, axis=1)
