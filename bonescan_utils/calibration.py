"""Calibration: do scores mean what they say? Reliability curve, slope and intercept, ECE, parts of the Brier score."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from bonescan_utils.bootstrap import N_BOOT, PatientBootstrap, percentile_interval, weighted_brier
from bonescan_utils.groups import chosen_scans, share_of_scans
from bonescan_utils.intervals import CONSTANT, Estimate, Z, is_constant, undefined
from bonescan_utils.predictions import ArmScores, arm_scores, check_both_classes

BINS = 10
EDGE = 1e-6
"""Scores are kept this far from 0 and 1 before their logit is taken."""

MAX_SLOPE = 1e3
"""A larger slope, or error of it, is separation: no finite slope fits best."""


def log_odds(y_score: np.ndarray) -> np.ndarray:
    """Logit of scores, which are kept `EDGE` away from 0 and 1; shape as given."""
    return np.asarray(logit(np.clip(y_score, EDGE, 1 - EDGE)))


def score_bins(y_score: np.ndarray, bins: int) -> np.ndarray:
    """Bin of each score, from 0, without gaps: bins of equally many scans, tied scores together; shape `(n,)`."""
    edges = np.unique(np.quantile(y_score, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.unique(np.searchsorted(edges, y_score, side="left"), return_inverse=True)[1]


def calibration_table(
    predictions: pd.DataFrame, *, bins: int = BINS, partition: str = "test", seed: int = 0, n_boot: int = N_BOOT
) -> pd.DataFrame:
    """Score against observed share of metastasis, in bins of equally many scans (tied scores stay together).

    Args:
        predictions: One row per scan and arm (see `predictions.arm_scores`).
        bins: Number of bins, at most.
        partition: The partition to evaluate.
        seed: Seed of the patient bootstrap (used only where patients have several scans).
        n_boot: Resamples of that bootstrap.

    Returns:
        `arm, bin` (from 0)`, n, n_positive, mean_score, observed, ci_low, ci_high, method` (`Wilson`, or `patient
        bootstrap`).
    """
    rows: list[dict[str, object]] = []
    for scores in arm_scores(predictions, partition=partition):
        where = score_bins(scores.y_score, bins)
        for number in np.unique(where):
            members = where == number
            chosen = chosen_scans(scores, members)
            found = share_of_scans(chosen, chosen.y_true == 1, seed=seed, n_boot=n_boot)
            row = {"n": found.n, "n_positive": found.n_positive, "mean_score": chosen.y_score.mean()}
            bounds = {"ci_low": found.ci_low, "ci_high": found.ci_high, "method": found.method}
            rows.append({"arm": scores.arm, "bin": int(number)} | row | {"observed": found.estimate} | bounds)
    return pd.DataFrame(rows)


def calibration_metrics(
    predictions: pd.DataFrame, *, seed: int, bins: int = BINS, n_boot: int = N_BOOT, partition: str = "test"
) -> pd.DataFrame:
    """Numbers that sum calibration up, of every arm.

    Args:
        predictions: One row per scan and arm (see `predictions.arm_scores`).
        seed: Seed of the patient bootstrap and of the simulated labels.
        bins: Bins of ECE and of the parts of the Brier score, as in `calibration_table`.
        n_boot: Resamples of the patient bootstrap, at least 100.
        partition: The partition to evaluate.

    Returns:
        A row per arm and metric: `arm, metric, estimate, ci_low, ci_high, method, n, n_positive`. Metrics:
        `slope` of the observed log odds on those of the score (1 is perfect, below 1 is overconfident), `intercept`
        (observed less stated log odds, slope held at 1; 0 is perfect), `ECE` (expected calibration error) and
        `ECE_if_calibrated` (what chance alone gives it, from labels drawn with the scores as probabilities),
        `Brier`, and its parts: Brier = `reliability` - `resolution` + `uncertainty` + `within_bin`. What does not
        exist is NaN, and `method` is `undefined: ` and the reason.

    Raises:
        ValueError: Only one label occurs; bad predictions.

    Source:
        Slope and intercept: Cox, Biometrika 1958;45:562-565; Van Calster et al., BMC Med 2019;17:230. Parts of the
        Brier score: Murphy, J Appl Meteorol 1973;12:595-600, within bins Stephenson et al., Weather Forecast
        2008;23:752-757.
    """
    rows: list[dict[str, object]] = []
    for scores in arm_scores(predictions, partition=partition):
        check_both_classes(scores.y_true, "calibration", of=f"arm {scores.arm}, partition {partition}")
        found = _cox(scores) | _binned(scores, bins, seed=seed, n_boot=n_boot)
        rows += [{"arm": scores.arm, "metric": name, **estimate._asdict()} for name, estimate in found.items()]
    return pd.DataFrame(rows)


# ------------------------------------------------------------------------------------- slope and intercept
def _cox(scores: ArmScores) -> dict[str, Estimate]:
    """Slope of a logistic regression on the log odds of the score, and intercept at slope 1."""
    import statsmodels.api as sm

    odds, size = log_odds(scores.y_score), (len(scores.y_true), int(scores.y_true.sum()))
    robust: dict[str, Any] = {}
    if len(np.unique(scores.patient_id)) == 1:
        return dict.fromkeys(("slope", "intercept"), undefined("all scans are of one patient", *size))
    if scores.clustered:
        robust = {"cov_type": "cluster", "cov_kwds": {"groups": np.unique(scores.patient_id, return_inverse=True)[1]}}
    method = "logistic regression, cluster-robust" if scores.clustered else "logistic regression"
    one, family = np.ones((len(odds), 1)), sm.families.Binomial()
    intercept = _wald(sm.GLM(scores.y_true, one, family=family, offset=odds), robust, method, size)
    if is_constant(odds):
        return {"slope": undefined(CONSTANT, *size), "intercept": intercept}
    slope = _wald(sm.GLM(scores.y_true, np.column_stack([one, odds]), family=family), robust, method, size)
    return {"slope": slope, "intercept": intercept}


def _wald(model: Any, robust: Mapping[str, Any], method: str, size: tuple[int, int]) -> Estimate:
    """The last coefficient with its Wald interval; undefined where labels are separated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # separation is told below, in the table
        fit = model.fit(**robust)
    value, error = float(fit.params[-1]), float(fit.bse[-1])
    if not (abs(value) < MAX_SLOPE and 0 < error < MAX_SLOPE):
        return undefined("the scores separate the labels, no finite value fits best", *size)
    return Estimate(value, value - Z * error, value + Z * error, method, *size)


# ----------------------------------------------------------------------------------- ECE and parts of Brier
def _binned(scores: ArmScores, bins: int, *, seed: int, n_boot: int) -> dict[str, Estimate]:
    """ECE and the parts of the Brier score, with the bins of the sample in every resample."""
    true, score, size = scores.y_true, scores.y_score, (len(scores.y_true), int(scores.y_true.sum()))
    member = np.eye(score_bins(score, bins).max() + 1)[score_bins(score, bins)]  # (n_scans, n_bins)
    resamples = PatientBootstrap(scores.patient_id, true, seed=seed, n_boot=n_boot)

    def parts(weights: np.ndarray) -> np.ndarray:
        return _parts(weights, true, score, member)

    values, own = resamples.values(parts), parts(np.ones((1, size[0])))[0]
    found = {}
    for place, name in enumerate(_PARTS):
        bounds = percentile_interval(values[:, place], float(own[place]))
        found[name] = Estimate(float(own[place]), *bounds, "patient bootstrap", *size)
    share = float(own[_PARTS.index("uncertainty")])
    found["uncertainty"] = Estimate(share, share, share, "fixed by the sample's share of metastasis", *size)
    chance = _ece_if_calibrated(score, member, seed=seed, n_draws=n_boot)
    found["ECE_if_calibrated"] = Estimate(*chance, "labels drawn from the scores", *size)
    order = ("ECE", "ECE_if_calibrated", *_PARTS[1:])
    return {name: found[name] for name in order}


_PARTS = ("ECE", "Brier", "reliability", "resolution", "uncertainty", "within_bin")


def _parts(weights: np.ndarray, true: np.ndarray, score: np.ndarray, member: np.ndarray) -> np.ndarray:
    """ECE and parts of the Brier score, in the order of `_PARTS`; shape `(resamples, 6)`."""
    total = weights.sum(axis=1, keepdims=True)
    drawn = weights @ member  # (resamples, n_bins), as are the next
    mean, seen = (
        np.divide(weights @ (member * values[:, None]), drawn, out=np.zeros_like(drawn), where=drawn > 0)
        for values in (score, true)
    )
    share, prevalence = drawn / total, weights @ true[:, None] / total
    ece = (share * np.abs(seen - mean)).sum(axis=1)
    reliability = (share * (seen - mean) ** 2).sum(axis=1)
    resolution = (share * (seen - prevalence) ** 2).sum(axis=1)
    uncertainty = (prevalence * (1 - prevalence))[:, 0]
    brier = weighted_brier(weights, true, score)
    rest = brier - (reliability - resolution + uncertainty)
    return np.column_stack([ece, brier, reliability, resolution, uncertainty, rest])


def _ece_if_calibrated(score: np.ndarray, member: np.ndarray, *, seed: int, n_draws: int) -> tuple[float, float, float]:
    """Mean and 95 % range of the ECE if each score were the probability of its label."""
    rng, n = np.random.default_rng(seed), len(score)
    labels = rng.random((n_draws, n)) < score
    gaps = (labels - score) @ member
    ece = np.abs(gaps).sum(axis=1) / n
    return float(ece.mean()), *percentile_interval(ece, float(ece.mean()))
