"""Sanity: does a saliency map say something about the model and the patient? Checks and one verdict per method.

The checks themselves are made by `randomisation`, `counterfactuals`, `deletion` and `count_noise`; here their tables
become estimates with intervals. No TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from bonescan_utils.bootstrap import N_BOOT, PatientBootstrap, weighted_ratio
from bonescan_utils.intervals import wilson

if TYPE_CHECKING:
    from bonescan_utils.explanation import Explained

PASSES, FAILS, TOO_FEW = "passes", "fails", "too few to say"
ALL_CHECKS = "all checks"
FEWEST_SCANS = 10
"""With fewer scans a check gives no verdict."""

TABLE = ["arm", "method", "check", "estimate", "ci_low", "ci_high", "n", "threshold", "verdict"]
EVERY = 4
"""Maps are compared at every fourth counts pixel each way: finer than the cells that they are made of."""

QUANTITIES = {"correlation": "rank correlation with the trained map", "peak_inside": "pointing game"}
SCORE_MOVES = 0.1
"""A score that differs by more than this in a scan of half the counts is not steady (assumption)."""


class SanityError(ValueError):
    """Scans that a sanity check cannot be made with; one readable line."""


class Check(NamedTuple):
    """One check: its text, the value that its estimate must exceed, its table, and the values it takes from there.

    Where each value is 0 or 1, `is_share` asks for Wilson's interval.
    """

    text: str
    threshold: float
    source: str
    values: Callable[[pd.DataFrame], pd.Series]
    is_share: bool = False


def map_correlation(one: Explained, other: Explained) -> float:
    """Return Spearman's rank correlation of two saliency maps of a scan, over the counts pixels of its views.

    NaN where a map is the same everywhere, such as an empty one.
    """
    first, second = one.by_view(), other.by_view()
    values = [np.concatenate([maps[view][::EVERY, ::EVERY].ravel() for view in first]) for maps in (first, second)]
    if any(np.ptp(found) == 0 for found in values):
        return float("nan")
    return float(spearmanr(*values).statistic)


def sanity_table(
    results: Mapping[str, pd.DataFrame],
    patients: pd.Series,
    *,
    arm: str,
    method: str,
    score_threshold: float,
    seed: int = 0,
    n_boot: int = N_BOOT,
) -> pd.DataFrame:
    """Sum the checks of one arm and method up, and judge them.

    A check passes where its whole interval lies above its threshold, fails where none of it does, and says too little
    otherwise or with fewer than `FEWEST_SCANS` scans.

    Args:
        results: The tables there are, by name: `randomisation`, `shuffled`, `removed`, `inserted`, `deletion`,
            `count_noise`.
        patients: patient_id by scan_id.
        arm: Name of the arm.
        method: Name of the method.
        score_threshold: The arm's threshold.
        seed: Seed of the patient bootstrap.
        n_boot: Its resamples.

    Returns:
        arm, method, check, estimate, ci_low, ci_high, n (scans), threshold, verdict. The last row, `all checks`, has
        no estimate: it fails if one check fails, passes if all pass; its n is the number of checks.

    Raises:
        SanityError: There is no table, or one of another name.
    """
    unknown = sorted(set(results) - {check.source for check in CHECKS})
    if unknown or not results:
        expected = ", ".join(dict.fromkeys(check.source for check in CHECKS))
        raise SanityError(f"results hold {', '.join(unknown) or 'nothing'}; expected some of {expected}")
    rows: list[dict[str, Any]] = []
    for check in (check for check in CHECKS if check.source in results):
        table = results[check.source].assign(score_threshold=score_threshold)
        values = check.values(table).dropna().astype(float)
        estimate = _estimate(values, patients, is_share=check.is_share, seed=seed, n_boot=n_boot)
        verdict = _verdict(*estimate[1:], check.threshold, len(values))
        numbers = dict(zip(("estimate", "ci_low", "ci_high"), estimate, strict=True))
        rows.append(
            {"check": check.text, **numbers, "n": len(values), "threshold": check.threshold, "verdict": verdict}
        )
    rows.append({"check": ALL_CHECKS, "n": len(rows), "verdict": _overall([row["verdict"] for row in rows])})
    return pd.DataFrame(rows).assign(arm=arm, method=method)[TABLE]


def randomisation_curve(
    table: pd.DataFrame, patients: pd.Series, *, seed: int = 0, n_boot: int = N_BOOT
) -> pd.DataFrame:
    """Return how maps change along the depths of random weights.

    Args:
        table: From `randomisation.randomisation_scores`.
        patients: patient_id by scan_id.
        seed: Seed of the patient bootstrap.
        n_boot: Its resamples.

    Returns:
        depth, quantity (rank correlation with the trained map, an empty map counting as 0; pointing game), estimate,
        ci_low, ci_high, n (scans).
    """
    named = table.assign(correlation=table["correlation"].fillna(0)).rename(columns=QUANTITIES)
    long = named.melt(["depth", "scan_id"], list(QUANTITIES.values()), var_name="quantity")
    return _summary(long, ["depth", "quantity"], "value", patients, seed=seed, n_boot=n_boot)


def deletion_curve(curves: pd.DataFrame, patients: pd.Series, *, seed: int = 0, n_boot: int = N_BOOT) -> pd.DataFrame:
    """Return the mean score along the shares of pixels deleted or put back.

    Args:
        curves: From `deletion.deletion_curves`.
        patients: patient_id by scan_id.
        seed: Seed of the patient bootstrap.
        n_boot: Its resamples.

    Returns:
        test, order, share, estimate, ci_low, ci_high, n (scans).
    """
    return _summary(curves, ["test", "order", "share"], "y_score", patients, seed=seed, n_boot=n_boot)


def _summary(
    table: pd.DataFrame, by: list[str], value: str, patients: pd.Series, *, seed: int, n_boot: int
) -> pd.DataFrame:
    """Return mean and interval of each group, in the order of the table."""
    rows = []
    for keys, mine in table.groupby(by, sort=False):
        values = mine.set_index("scan_id")[value].dropna().astype(float)
        rows.append((*keys, *_estimate(values, patients, seed=seed, n_boot=n_boot), len(values)))
    return pd.DataFrame(rows, columns=[*by, "estimate", "ci_low", "ci_high", "n"])


def _estimate(
    values: pd.Series, patients: pd.Series, *, seed: int, n_boot: int, is_share: bool = False
) -> tuple[float, float, float]:
    """Return the mean with its interval: Wilson's of a share of patients, else by patient bootstrap."""
    if values.empty:
        return float("nan"), float("nan"), float("nan")
    ids = patients.loc[values.index].to_numpy()
    if is_share and len(set(ids)) == len(ids):
        return float(values.mean()), *wilson(int(values.sum()), len(values))
    resamples = PatientBootstrap(ids, np.zeros(len(ids), int), seed=seed, n_boot=n_boot)
    found = resamples.estimate(lambda weights: weighted_ratio(weights, values.to_numpy(), np.ones(len(values))))
    return found.estimate, found.ci_low, found.ci_high


def _verdict(low: float, high: float, threshold: float, n: int) -> str:
    """Return the verdict of one check."""
    if n >= FEWEST_SCANS and low > threshold:
        return PASSES
    return FAILS if n >= FEWEST_SCANS and high <= threshold else TOO_FEW


def _overall(verdicts: list[str]) -> str:
    """Return the verdict of all checks together."""
    if FAILS in verdicts:
        return FAILS
    return PASSES if set(verdicts) == {PASSES} else TOO_FEW


# ------------------------------------------------------------------------------------------------- checks
def _pointing_lost(table: pd.DataFrame) -> pd.Series:
    wide = table.pivot(index="scan_id", columns="layers", values="peak_inside")
    return wide[0] - wide[wide.columns.max()]


def _map_changed(table: pd.DataFrame) -> pd.Series:
    last = table[table["layers"] == table["layers"].max()].set_index("scan_id")
    return 1 - last["correlation"].fillna(0)  # a map that is gone is another map


def _score_falls(table: pd.DataFrame) -> pd.Series:
    return _shares(table, table["score_after"] < table["score_threshold"])


def _score_rises(table: pd.DataFrame) -> pd.Series:
    return _shares(table, table["score_after"] >= table["score_threshold"])


def _map_fades(table: pd.DataFrame) -> pd.Series:
    return _shares(table, table["energy_after"] < table["energy_before"])


def _map_rises(table: pd.DataFrame) -> pd.Series:
    return _shares(table, table["energy_after"] > table["energy_before"])


def _gain(test: str) -> Callable[[pd.DataFrame], pd.Series]:
    """Return what picks the gain over a random order in one test, `deletion` or `insertion`."""
    return lambda table: table[table["test"] == test].set_index("scan_id")["gain"]


def _same_map(table: pd.DataFrame) -> pd.Series:
    return table.groupby("scan_id")["correlation"].mean()


def _same_score(table: pd.DataFrame) -> pd.Series:
    moved = (table["score_after"] - table["score_before"]).abs() > SCORE_MOVES
    return (~moved).groupby(table["scan_id"]).mean()


def _shares(table: pd.DataFrame, counted: pd.Series) -> pd.Series:
    return pd.Series(counted.to_numpy(float), index=pd.Index(table["scan_id"]))


CHECKS = (
    Check("Random weights: pointing game lost", 0.4, "randomisation", _pointing_lost),
    Check("Random weights: 1 - rank correlation of maps", 0.5, "randomisation", _map_changed),
    Check("Shuffled labels: pointing game lost", 0.4, "shuffled", _pointing_lost),
    Check("Shuffled labels: 1 - rank correlation of maps", 0.5, "shuffled", _map_changed),
    Check("Lesions removed: score below threshold", 0.8, "removed", _score_falls, is_share=True),
    Check("Lesions removed: map fades there", 0.8, "removed", _map_fades, is_share=True),
    Check("Lesions inserted: score reaches threshold", 0.8, "inserted", _score_rises, is_share=True),
    Check("Lesions inserted: map rises there", 0.8, "inserted", _map_rises, is_share=True),
    Check("Deletion: area saved against random order", 0.0, "deletion", _gain("deletion")),
    Check("Insertion: area won against random order", 0.0, "deletion", _gain("insertion")),
    Check("Half the counts: rank correlation of maps", 0.7, "count_noise", _same_map),
    Check("Half the counts: score moves by 0.1 at most", 0.8, "count_noise", _same_score),
)
"""Thresholds of the pointing game and of removed lesions are the study's aims; the others are assumptions."""
