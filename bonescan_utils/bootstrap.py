"""Bootstrap: statistics of resampled patients, with percentile or BCa intervals; vectorised over resamples."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, ndtri

from bonescan_utils.intervals import LEVEL, Estimate, Z

N_BOOT = 2000
CHUNK_CELLS = 500_000
"""Resample-by-scan cells worked on at once: bounds the memory of the bootstrap to tens of MB."""

Statistic = Callable[[np.ndarray], np.ndarray]
"""Takes how often each scan was drawn, float64 `(resamples, n_scans)`; returns `(resamples,)` or `(resamples, k)`."""

ScoreStatistic = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Takes weights as `Statistic` does, labels and scores `(n_scans,)`; returns as `Statistic` does."""

INTERVALS = ("percentile", "bca")
WITH_ADDED = "patient bootstrap, Agresti-Caffo"
"""Method of intervals from resamples with added patients; see `PatientBootstrap.of_scores`."""


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
        self._y_true, self._seed = y_true, seed
        patients, self._patient = np.unique(patient_id, return_inverse=True)
        positive = np.bincount(self._patient, weights=y_true, minlength=len(patients))
        self._stratum = np.sign(positive) + (positive == np.bincount(self._patient, minlength=len(patients)))
        self._draws = np.zeros((n_boot, len(patients)), dtype=np.uint16)  # (n_boot, n_patients)
        rng = np.random.default_rng(seed)
        for value in np.unique(self._stratum):
            members = np.flatnonzero(self._stratum == value)
            share = np.full(len(members), 1 / len(members))
            step = max(1, CHUNK_CELLS // len(members))  # drawn in blocks: whole they take eight bytes a cell
            for start in range(0, n_boot, step):
                block = self._draws[start : start + step]
                block[:, members] = rng.multinomial(len(members), share, size=len(block))

    def estimate(self, statistic: Statistic, *, interval: str = "percentile") -> Estimate:
        """Returns the statistic of the sample itself, one value, with its percentile or BCa interval."""
        if interval not in INTERVALS:
            raise ValueError(f"interval must be one of {INTERVALS}, got {interval!r}")
        value, values = self.value(statistic), self.values(statistic)
        size = (len(self._y_true), int(self._y_true.sum()))
        low, high = percentile_interval(values, value)
        if interval == "bca" and low < high:
            found = bca_levels(values, value, self._influence(statistic))
            if found is not None:
                low, high = percentile_interval(values, value, levels=found)
                return Estimate(value, low, high, "patient bootstrap, BCa", *size)
        return Estimate(value, low, high, "patient bootstrap", *size)

    def of_scores(self, statistic: ScoreStatistic, y_score: np.ndarray, *, interval: str = "percentile") -> Estimate:
        """Returns a statistic of scores with its interval, which has a width even where all resamples agree.

        Resamples of a perfect arm are all perfect, and an interval of zero width would claim certainty. Then one
        patient with score 0 and one with score 1 are added to either label before resampling.

        Source:
            Agresti & Caffo, Am Stat 2000;54:280-288 (one success and one failure added to either group).
        """
        found = self.estimate(lambda w: statistic(w, self._y_true, y_score), interval=interval)
        if found.ci_low < found.ci_high or not math.isfinite(found.estimate):
            return found
        bounds = percentile_interval(self._values_with_added(statistic, y_score), found.estimate)
        return Estimate(found.estimate, *bounds, WITH_ADDED, *found[-2:])

    def bands_of_scores(self, statistic: ScoreStatistic, y_score: np.ndarray) -> tuple[np.ndarray, ...]:
        """Returns `k` values of a curve, and pointwise bounds from resamples of the sample with four patients added.

        A curve ends at shares of 0 and 1, where resamples agree too much: in simulations with 100 + 100 scans plain
        percentile bounds of sensitivity held the truth in 22 to 96 % of studies, those with added patients in 95 % or
        more. The patients, method and source are those of `of_scores`.

        Returns:
            Estimates, lower and upper bounds, each of shape `(k,)`.
        """
        own = statistic(np.ones((1, len(self._y_true))), self._y_true, y_score)[0]
        values = self._values_with_added(statistic, y_score)
        bounds = [percentile_interval(column, float(value)) for column, value in zip(values.T, own, strict=True)]
        return own, *np.array(bounds).T

    def share(self, counted: np.ndarray) -> Estimate:
        """Returns the share of scans that count, bool `(n_scans,)`, with bounds as in `bands_of_scores`."""

        def of_all(weights: np.ndarray, _: np.ndarray, counted: np.ndarray) -> np.ndarray:
            return (weights @ counted / weights.sum(axis=1))[:, None]

        own, low, high = (float(values[0]) for values in self.bands_of_scores(of_all, counted.astype(float)))
        return Estimate(own, low, high, WITH_ADDED, len(self._y_true), int(self._y_true.sum()))

    def _values_with_added(self, statistic: ScoreStatistic, y_score: np.ndarray) -> np.ndarray:
        """Returns the statistic of resamples of the sample with four patients added; see `of_scores`."""
        each = max(1, round(len(self._patient) / len(self._stratum)))  # an added patient is as large as the others
        added = np.repeat([[0, 0, 1, 1], [0, 1, 0, 1], [1, 2, 3, 4]], each, axis=1)
        true, score = np.append(self._y_true, added[0]), np.append(y_score, added[1].astype(float))
        patient = np.append(self._patient, self._patient.max() + added[2])
        wider = PatientBootstrap(patient, true, seed=self._seed, n_boot=len(self._draws))
        return wider.values(lambda w: statistic(w, true, score))

    def value(self, statistic: Statistic) -> float:
        """Returns the statistic of the sample itself, each scan taken once."""
        return float(statistic(np.ones((1, len(self._y_true))))[0])

    def values(self, statistic: Statistic) -> np.ndarray:
        """Returns the statistic of every resample, shape `(n_boot,)` or `(n_boot, k)`."""
        return self._applied(statistic, self._draws)

    def _influence(self, statistic: Statistic) -> np.ndarray:
        """Returns each patient's influence by leaving it out, over its stratum's size; shape `(n_patients,)`.

        A stratum of one patient cannot lose it, and tells nothing.
        """
        n = len(self._stratum)
        step = max(1, CHUNK_CELLS // n)
        blocks = (1 - np.eye(min(step, n - start), n, start, dtype=np.uint8) for start in range(0, n, step))
        without = np.concatenate([self._applied(statistic, block) for block in blocks])
        out = np.zeros(n)
        for value in np.unique(self._stratum):
            members = self._stratum == value
            size = int(members.sum())
            if size > 1:
                out[members] = (size - 1) * (without[members].mean() - without[members]) / size
        return out

    def _applied(self, statistic: Statistic, draws: np.ndarray) -> np.ndarray:
        step = max(1, CHUNK_CELLS // len(self._patient))
        parts = [
            statistic(draws[start : start + step, self._patient].astype(np.float64))
            for start in range(0, len(draws), step)
        ]
        return np.concatenate(parts)


def bca_levels(values: np.ndarray, estimate: float, influence: np.ndarray) -> tuple[float, float] | None:
    """Levels at which bias-corrected and accelerated bounds lie among bootstrap values.

    Args:
        values: The statistic of every resample, shape `(n_boot,)`; NaN where undefined.
        estimate: The statistic of the sample.
        influence: Each patient's influence over its stratum's size, shape `(n_patients,)`.

    Returns:
        Two levels, 0-1; None where they do not exist (all resamples on one side of the estimate, or an undefined
        influence).

    Source:
        Efron, J Am Stat Assoc 1987;82:171-185; strata: Davison & Hinkley, Bootstrap Methods, 1997, section 5.3.2.
    """
    defined = values[np.isfinite(values)]
    below = float(np.mean(defined < estimate) + np.mean(defined == estimate) / 2)
    spread = float(np.sum(influence**2))
    if not 0 < below < 1 or not spread > 0:
        return None
    bias, acceleration = float(ndtri(below)), float(np.sum(influence**3)) / (6 * spread**1.5)
    bounds = [bias + (bias + z) / (1 - acceleration * (bias + z)) for z in (-Z, Z)]
    return float(ndtr(bounds[0])), float(ndtr(bounds[1]))


def percentile_interval(
    values: np.ndarray, estimate: float, *, levels: tuple[float, float] = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
) -> tuple[float, float]:
    """Percentile interval of bootstrap values, widened where needed to hold the estimate itself.

    Resamples in which the statistic is undefined (NaN) are left out; `(nan, nan)` if it never was defined.
    """
    defined = values[np.isfinite(values)]
    if not len(defined) or not math.isfinite(estimate):
        return math.nan, math.nan
    low, high = np.quantile(defined, levels)
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


def weighted_roc(weights: np.ndarray, y_true: np.ndarray, y_score: np.ndarray, fpr: np.ndarray) -> np.ndarray:
    """Sensitivity at false alarm rates `fpr` `(k,)`, on straight lines between points; shape `(resamples, k)`.

    Where the curve rises straight up, its upper end is taken.
    """
    positive, negative = (counts[:, ::-1] for counts in _by_score(weights, y_true, y_score))  # high to low
    found, false = (np.pad(np.cumsum(counts, axis=1), ((0, 0), (1, 0))) for counts in (positive, negative))
    found, false = found / found[:, -1:], false / false[:, -1:]
    out = np.empty((len(weights), len(fpr)))
    for column, rate in enumerate(fpr):
        at = (false <= rate + 1e-12).sum(axis=1, keepdims=True) - 1
        after = np.minimum(at + 1, false.shape[1] - 1)
        (x0, x1), (y0, y1) = (
            [np.take_along_axis(values, place, axis=1)[:, 0] for place in (at, after)] for values in (false, found)
        )
        way = np.divide(rate - x0, x1 - x0, out=np.zeros_like(x0), where=x1 > x0)
        out[:, column] = y0 + np.clip(way, 0, 1) * (y1 - y0)
    return out


def weighted_ratio(weights: np.ndarray, counted: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Weighted sum over weighted sum, per resample; NaN where nothing was drawn to count among."""
    below = weights @ among.astype(float)
    return np.divide(weights @ counted.astype(float), below, out=np.full(len(below), np.nan), where=below > 0)


def weighted_f1(weights: np.ndarray, y_true: np.ndarray, called: np.ndarray) -> np.ndarray:
    """F1 of calls, bool `(n_scans,)`, per resample; shape `(resamples,)`."""
    positive = y_true == 1
    return weighted_ratio(weights, 2.0 * (called & positive), called.astype(float) + positive)


def weighted_brier(weights: np.ndarray, y_true: np.ndarray, y_score: np.ndarray) -> np.ndarray:
    """Brier score, per resample; shape `(resamples,)`."""
    return weighted_ratio(weights, (y_score - y_true) ** 2, np.ones(len(y_true)))


def _by_score(weights: np.ndarray, y_true: np.ndarray, y_score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums weights of positives and of negatives per distinct score, low to high: `(resamples, n_scores)`."""
    order = np.argsort(y_score, kind="stable")
    starts = np.flatnonzero(np.diff(y_score[order], prepend=-np.inf))
    sorted_weights, labels = weights[:, order], y_true[order]
    positive = np.add.reduceat(sorted_weights * labels, starts, axis=1)
    return positive, np.add.reduceat(sorted_weights * (1 - labels), starts, axis=1)
