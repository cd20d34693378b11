"""Intervals: estimates with 95 % confidence intervals in closed form: DeLong, Newcombe, Wilson."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from bonescan_utils.predictions import check_both_classes, check_scores

LEVEL = 0.95
"""Confidence level of every interval."""
Z = float(ndtri(0.5 + LEVEL / 2))
CONSTANT = "every scan has the same score"


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

    Ties count one half. Where DeLong's variance is zero (perfect separation) or undefined (one scan of a label),
    an interval of zero width would claim certainty: Newcombe's is given instead. A constant score ranks nothing:
    the area is NaN and `method` says so.

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
    n, n_positive = len(labels), int(labels.sum())
    if is_constant(scores):
        return undefined(CONSTANT, n, n_positive)
    area, variance = delong(labels, scores)
    if variance > 0:
        half = Z * math.sqrt(variance)
        return Estimate(area, max(0.0, area - half), min(1.0, area + half), "DeLong", n, n_positive)
    low, high = newcombe(area, n_positive, n - n_positive)
    return Estimate(area, low, high, "Newcombe", n, n_positive)


def is_constant(y_score: np.ndarray) -> bool:
    """Whether all scans have the same score, so that they are not ranked."""
    return bool(np.ptp(y_score) == 0)


def undefined(reason: str, n: int, n_positive: int) -> Estimate:
    """Returns the estimate that does not exist, with its reason where the method would stand."""
    return Estimate(math.nan, math.nan, math.nan, f"undefined: {reason}", n, n_positive)


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


def auroc_variance(area: float, n_positive: int, n_negative: int) -> float:
    """Variance of an AUROC from its true value and the class sizes alone.

    Hanley and McNeil's variance for negative exponential scores, with the mean of both class sizes where theirs has
    one or the other: for classes of one size it is theirs, and it does not depend on which class is the larger.

    Source:
        Hanley & McNeil, Radiology 1982;143:29-36. Newcombe, Stat Med 2006;25:559-573, methods 4 and 5.
    """
    mean_size = (n_positive + n_negative) / 2 - 1
    spread = 1 + mean_size * ((1 - area) / (2 - area) + area / (1 + area))
    return area * (1 - area) * spread / (n_positive * n_negative)


def newcombe(area: float, n_positive: int, n_negative: int) -> tuple[float, float]:
    """Score-type interval of an AUROC from its value and the class sizes alone (Newcombe 2006, method 5)."""

    def excess(theta: float, observed: float) -> float:
        return observed - theta - Z * math.sqrt(auroc_variance(theta, n_positive, n_negative))

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
