"""Sample size: how wide an interval a test part of a given size will give, and how many scans a wanted width takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from bonescan_utils.intervals import Z, auroc_variance


class SampleSizeError(ValueError):
    """A number of scans, a width, a prevalence or an expected value is out of range."""


MOST_SCANS = 1_000_000
"""Where no test part up to this size is large enough, no number is given."""

METHODS = {"AUROC": "Hanley-McNeil, mean class size", "sensitivity": "Wilson", "specificity": "Wilson"}
PRECISION_COLUMNS = ["n", "n_positive", "prevalence", "metric", "expected", "ci_low", "ci_high", "width", "method"]
NEEDED_COLUMNS = ["width", "prevalence", "metric", "expected", "n", "n_positive", "method"]


def expected_interval(metric: str, expected: float, n_positive: int, n_negative: int) -> tuple[float, float]:
    """Expected 95 % interval of a metric: `(nan, nan)` without a scan that it needs.

    Args:
        metric: AUROC, sensitivity or specificity.
        expected: the value that is expected, 0.5-1 for AUROC and 0-1 for the others, ends left out.
        n_positive: scans with metastasis.
        n_negative: scans without.

    Raises:
        SampleSizeError: The metric is none of these, or its value is out of range.

    Source:
        AUROC: normal interval with `intervals.auroc_variance`, cut at 1; over simulated normal scores it was 0 to 11 %
        wider than the mean of DeLong's. Proportions: Wilson, J Am Stat Assoc 1927;22:209-212, at the expected share.
    """
    _check_expected(metric, expected)
    if metric == "AUROC":
        if min(n_positive, n_negative) < 1:
            return math.nan, math.nan
        half = Z * math.sqrt(auroc_variance(expected, n_positive, n_negative))
        return max(0.0, expected - half), min(1.0, expected + half)
    n = n_positive if metric == "sensitivity" else n_negative
    if n < 1:
        return math.nan, math.nan
    centre, scale = expected + Z**2 / (2 * n), 1 + Z**2 / n
    half = Z * math.sqrt(expected * (1 - expected) / n + Z**2 / (4 * n**2))
    return (centre - half) / scale, (centre + half) / scale


def precision_table(
    ns: Sequence[int],
    *,
    prevalence: float = 0.5,
    auroc: float = 0.9,
    sensitivity: float = 0.85,
    specificity: float = 0.85,
) -> pd.DataFrame:
    """Expected 95 % intervals for test parts of given sizes.

    Args:
        ns: Numbers of test scans, one scan a patient, each at least 2.
        prevalence: Share of them with metastasis, between 0 and 1.
        auroc: The AUROC that is expected, at least 0.5.
        sensitivity: The sensitivity that is expected.
        specificity: The specificity that is expected.

    Returns:
        A row per size and metric: `n, n_positive, prevalence, metric, expected, ci_low, ci_high, width` (of the whole
        interval)`, method`.

    Raises:
        SampleSizeError: A size, the prevalence or an expected value is out of range.
    """
    _check_prevalence(prevalence)
    if any(n < 2 for n in ns):
        raise SampleSizeError(f"numbers of test scans must be at least 2, got {[n for n in ns if n < 2]}")
    rows = []
    for n in ns:
        n_positive, n_negative = _split(n, prevalence)
        for metric, expected in (("AUROC", auroc), ("sensitivity", sensitivity), ("specificity", specificity)):
            low, high = expected_interval(metric, expected, n_positive, n_negative)
            method = METHODS[metric] if low <= high else "undefined: no scan of a label that it needs"
            rows.append((n, n_positive, prevalence, metric, expected, low, high, high - low, method))
    return pd.DataFrame(rows, columns=PRECISION_COLUMNS)


def scans_needed(
    widths: Sequence[float],
    *,
    prevalence: float = 0.5,
    auroc: float = 0.9,
    sensitivity: float = 0.85,
    specificity: float = 0.85,
) -> pd.DataFrame:
    """Fewest test scans whose expected 95 % interval is no wider than wanted.

    Args:
        widths: Wanted widths of the whole interval, between 0 and 1: 0.1 is 0.05 to either side.
        prevalence: As in `precision_table`, and so are the others.
        auroc: The AUROC that is expected.
        sensitivity: The sensitivity that is expected.
        specificity: The specificity that is expected.

    Returns:
        A row per width and metric: `width, prevalence, metric, expected, n, n_positive, method`.

    Raises:
        SampleSizeError: A width, the prevalence or an expected value is out of range, or more than a million scans
            would be needed.
    """
    _check_prevalence(prevalence)
    rows = []
    for width in widths:
        for metric, expected in (("AUROC", auroc), ("sensitivity", sensitivity), ("specificity", specificity)):
            n = _fewest(_narrow_enough(metric, expected, prevalence, width), what=f"{metric} within {width}")
            rows.append((width, prevalence, metric, expected, n, _split(n, prevalence)[0], METHODS[metric]))
    return pd.DataFrame(rows, columns=NEEDED_COLUMNS)


def _narrow_enough(metric: str, expected: float, prevalence: float, width: float) -> Callable[[int], bool]:
    """Returns whether n scans make the interval no wider than `width`; half of it on the lower side of an AUROC."""
    if not 0 < width < 1:
        raise SampleSizeError(f"width must be between 0 and 1, got {width}")

    def enough(n: int) -> bool:
        low, high = expected_interval(metric, expected, *_split(n, prevalence))
        spread = 2 * (expected - low) if metric == "AUROC" else high - low  # an interval cut at 1 is not precise
        return spread <= width + 1e-12

    return enough


def _fewest(enough: Callable[[int], bool], *, what: str) -> int:
    """Returns the smallest n from which on all are enough, found by halving."""
    low, high = 2, 4
    while not enough(high):
        low, high = high, 2 * high
        if high > MOST_SCANS:
            raise SampleSizeError(f"{what} would take more than {MOST_SCANS:,} scans")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    while any(not enough(n) for n in range(high, high + 20)):  # sizes are whole: widths fall in small steps
        high += 1
    return high


def _split(n: int, prevalence: float) -> tuple[int, int]:
    """Returns how many of `n` scans have metastasis, rounded half up, and how many have not."""
    n_positive = math.floor(n * prevalence + 0.5)
    return n_positive, n - n_positive


def _check_prevalence(prevalence: float) -> None:
    if not 0 < prevalence < 1:
        raise SampleSizeError(f"prevalence must be between 0 and 1, got {prevalence}")


def _check_expected(metric: str, expected: float) -> None:
    if metric not in METHODS:
        raise SampleSizeError(f"metric must be one of {tuple(METHODS)}, got {metric!r}")
    least = 0.5 if metric == "AUROC" else 0.0
    if not least <= expected < 1 or not np.isfinite(expected) or expected == 0:
        raise SampleSizeError(f"expected {metric} must be at least {least} and below 1, got {expected}")
