"""Rates: likelihood ratios and Youden's index with intervals, from the counts of called and uncalled scans."""

from __future__ import annotations

import math

from scipy.optimize import brentq

from bonescan_utils.intervals import Z, wilson


def likelihood_ratio(found: int, n_positive: int, false: int, n_negative: int) -> tuple[float, float, float]:
    """Ratio of two independent shares, found / n_positive over false / n_negative, with its score interval.

    With calls it is LR+ (sensitivity over 1 - specificity); with scans that were not called it is LR-.

    Args:
        found: positive scans that count, out of `n_positive`.
        n_positive: positive scans, at least 1.
        false: negative scans that count, out of `n_negative`.
        n_negative: negative scans, at least 1.

    Returns:
        The ratio and its bounds. Infinite ratio and upper bound without a negative scan that counts; NaN three
        times where no scan counts at all.

    Source:
        Koopman, Biometrics 1984;40:513-517.
    """
    if found == false == 0:
        return math.nan, math.nan, math.nan
    ratio = math.inf if false == 0 else (found / n_positive) / (false / n_negative)

    def excess(log_ratio: float) -> float:
        return _score(math.exp(log_ratio), found, n_positive, false, n_negative) - Z**2

    centre = math.log(ratio) if 0 < ratio < math.inf else 0.0
    low = 0.0 if found == 0 else math.exp(_root(excess, centre, step=-1.0, beyond=ratio == math.inf))
    high = math.inf if false == 0 else math.exp(_root(excess, centre, step=1.0, beyond=ratio == 0))
    return ratio, low, high


def _root(excess: object, centre: float, *, step: float, beyond: bool) -> float:
    """Finds where the score statistic leaves the interval, going from the estimate in steps of one e-fold.

    Where the estimate is 0 or infinite (`beyond`), the search starts far on its side.
    """
    assert callable(excess)
    inside = -step * 40.0 if beyond else centre
    outside = inside + step
    while excess(outside) < 0:
        inside, outside = outside, outside + step
    return float(brentq(excess, inside, outside, xtol=1e-12))


def _score(ratio: float, x1: int, n1: int, x2: int, n2: int) -> float:
    """Koopman's chi-squared of the hypothesis p1 = ratio x p2."""
    a, b, c = (n1 + n2) * ratio, -(n1 * ratio + x1 + n2 + x2 * ratio), x1 + x2
    p2 = 2 * c / (-b + math.sqrt(max(0.0, b * b - 4 * a * c)))  # the smaller root, without cancellation
    p1 = ratio * p2
    parts = (((x - n * p) ** 2, n * p * (1 - p)) for x, n, p in ((x1, n1, p1), (x2, n2, p2)))
    return sum(gap / spread if spread > 1e-300 else 0.0 for gap, spread in parts)


def youden(found: int, n_positive: int, false: int, n_negative: int) -> tuple[float, float, float]:
    """Sensitivity + specificity - 1 with its interval: a difference of two independent shares.

    Args:
        found: positive scans called, out of `n_positive`.
        n_positive: positive scans, at least 1.
        false: negative scans called, out of `n_negative`.
        n_negative: negative scans, at least 1.

    Source:
        Newcombe, Stat Med 1998;17:873-890, method 10 (from Wilson's intervals of the two shares).
    """
    p1, p2 = found / n_positive, false / n_negative
    (low1, high1), (low2, high2) = wilson(found, n_positive), wilson(false, n_negative)
    below = math.hypot(p1 - low1, high2 - p2)
    above = math.hypot(high1 - p1, p2 - low2)
    return p1 - p2, p1 - p2 - below, p1 - p2 + above
