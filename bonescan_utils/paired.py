"""Paired tests: two arms compared on the same scans, with the family of comparisons adjusted after Holm."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import ndtr

from bonescan_utils.intervals import (
    N_BOOT,
    PatientBootstrap,
    Statistic,
    Z,
    delong_difference,
    weighted_auroc,
)
from bonescan_utils.predictions import ArmScores, arm_scores, check_both_classes, common_scans, threshold_of

_NUMBERS = ["difference", "ci_low", "ci_high", "statistic", "p", "p_holm"]
COLUMNS = ["arm_a", "arm_b", "quantity", "test", *_NUMBERS, "note"]


def paired_tests(
    predictions: pd.DataFrame,
    thresholds: Mapping[str, float],
    *,
    reference: str,
    partition: str = "test",
    seed: int = 0,
    n_boot: int = N_BOOT,
) -> pd.DataFrame:
    """Compares a reference arm, named beforehand, with every other arm on the same scans.

    AUROC by DeLong's paired test, accuracy at the arms' thresholds by McNemar's exact test. Where a patient
    has several scans neither holds, and both differences are tested by the patient bootstrap (normal deviate
    of the bootstrap standard error). Holm's adjustment is over the comparisons of one quantity.

    Args:
        predictions: One row per scan and arm (see `predictions.arm_scores`).
        thresholds: Threshold of each arm, 0-1; `y_score >= threshold` calls metastasis.
        reference: The arm that the others are compared with.
        partition: The partition to test on.
        seed: Seed of the patient bootstrap (used only where patients have several scans).
        n_boot: Resamples of that bootstrap.

    Returns:
        A row per comparison and quantity: `arm_a` (the reference), `arm_b`, `quantity` (AUROC, accuracy),
        `test`, `difference` (a - b) with `ci_low, ci_high`, `statistic` (z, or the smaller discordant count),
        `p`, `p_holm`, `note`. A p-value that does not exist is NaN and `note` says why.

    Raises:
        ValueError: When the reference is absent, arms scored different scans, or only one label occurs.

    Source:
        DeLong et al., Biometrics 1988;44:837-845. McNemar interval: Agresti & Min, Stat Med 2005;24:729-740.
    """
    arms = {scores.arm: scores for scores in arm_scores(predictions, partition=partition)}
    if reference not in arms:
        raise ValueError(f"reference arm must be one of {sorted(arms)}, got {reference!r}")
    common_scans(list(arms.values()))
    check_both_classes(arms[reference].y_true, "AUROC", of=f"partition {partition}")
    rows: list[dict[str, object]] = []
    for arm, other in arms.items():
        if arm != reference:
            calls = [s.y_score >= threshold_of(thresholds, s.arm) for s in (arms[reference], other)]
            pair = _compare(arms[reference], other, calls[0], calls[1], seed=seed, n_boot=n_boot)
            rows += [{"arm_a": reference, "arm_b": arm} | row for row in pair]
    table = pd.DataFrame(rows, columns=COLUMNS)
    table["p_holm"] = table.groupby("quantity")["p"].transform(lambda p: holm(p.to_numpy(dtype=float)))
    return table.sort_values("quantity", kind="stable").reset_index(drop=True)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm-adjusted p-values; a NaN stays NaN and is not counted in the family."""
    from statsmodels.stats.multitest import multipletests

    adjusted = np.full(p.shape, np.nan)
    defined = np.isfinite(p)
    if defined.any():
        adjusted[defined] = multipletests(p[defined], method="holm")[1]
    return adjusted


def mcnemar(only_a: int, only_b: int, n: int) -> dict[str, object]:
    """McNemar's exact test of two accuracies on the same `n` scans.

    Args:
        only_a: scans that arm a alone got right.
        only_b: scans that arm b alone got right.
        n: scans in all.
    """
    from statsmodels.stats.contingency_tables import mcnemar as exact_mcnemar

    result = exact_mcnemar([[0, only_a], [only_b, n - only_a - only_b]], exact=True)
    # half a scan is added to each of the four cells
    centre = (only_a - only_b) / (n + 2)
    spread = (only_a + only_b + 1) - (only_a - only_b) ** 2 / (n + 2)
    half = Z * math.sqrt(spread) / (n + 2)
    return {
        "test": "McNemar exact",
        "difference": (only_a - only_b) / n,
        "ci_low": max(-1.0, centre - half),
        "ci_high": min(1.0, centre + half),
        "statistic": float(result.statistic),
        "p": min(1.0, float(result.pvalue)),
        "note": "",
    }


def _compare(
    a: ArmScores, b: ArmScores, calls_a: np.ndarray, calls_b: np.ndarray, *, seed: int, n_boot: int
) -> list[dict[str, object]]:
    """Returns the AUROC row and the accuracy row of one pair of arms."""
    right_a, right_b = calls_a == a.y_true, calls_b == a.y_true
    if a.clustered:
        resamples = PatientBootstrap(a.patient_id, a.y_true, seed=seed, n_boot=n_boot)

        def area_difference(weights: np.ndarray) -> np.ndarray:
            return weighted_auroc(weights, a.y_true, a.y_score) - weighted_auroc(weights, a.y_true, b.y_score)

        def accuracy_difference(weights: np.ndarray) -> np.ndarray:
            return np.asarray(weights @ (right_a.astype(float) - right_b) / weights.sum(axis=1))

        area, accuracy = (_bootstrap(resamples, f) for f in (area_difference, accuracy_difference))
    else:
        difference, variance = delong_difference(a.y_true, a.y_score, b.y_score)
        interval = (difference - Z * math.sqrt(variance), difference + Z * math.sqrt(variance))
        area = _normal_test("DeLong", difference, math.sqrt(variance), interval)
        accuracy = mcnemar(int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a)), len(a.y_true))
    return [{"quantity": "AUROC"} | area, {"quantity": "accuracy"} | accuracy]


def _bootstrap(resamples: PatientBootstrap, statistic: Statistic) -> dict[str, object]:
    """Tests a difference by its bootstrap standard error."""
    found, error = resamples.estimate(statistic), float(np.std(resamples.values(statistic), ddof=1))
    return _normal_test(found.method, found.estimate, error, (found.ci_low, found.ci_high))


def _normal_test(test: str, difference: float, error: float, interval: tuple[float, float]) -> dict[str, object]:
    """Two-sided normal test; without a standard error only equal arms have a p-value, and it is 1."""
    note, low, high = "", max(-1.0, interval[0]), min(1.0, interval[1])
    if error > 1e-12:  # below: rounding error
        statistic = difference / error
        p = 2 * float(ndtr(-abs(statistic)))
    elif difference == 0:
        statistic, p = 0.0, 1.0
    else:
        statistic = p = low = high = math.nan
        note = "no p-value: the standard error of the difference is zero"
    return {
        "test": test, "difference": difference, "ci_low": low, "ci_high": high,
        "statistic": statistic, "p": p, "note": note,
    }  # fmt: skip
