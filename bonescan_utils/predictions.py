"""Predictions: the table of scores that evaluation reads, checked before anything is computed from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

COLUMNS = ("scan_id", "patient_id", "arm", "partition", "y_true", "y_score")


class ArmScores(NamedTuple):
    """The scores of one arm, sorted by `scan_id`; every array has shape `(n_scans,)`."""

    arm: str
    scan_id: np.ndarray
    patient_id: np.ndarray
    y_true: np.ndarray  # int64, 0 or 1
    y_score: np.ndarray  # float64, 0-1

    @property
    def clustered(self) -> bool:
        """Whether a patient has more than one scan, so that scans are not independent."""
        return len(np.unique(self.patient_id)) < len(self.patient_id)


def check_scores(y_true: Any, y_score: Any) -> tuple[np.ndarray, np.ndarray]:
    """Checks reference labels and scores.

    Args:
        y_true: labels, 0 or 1, shape `(n,)`.
        y_score: finite numbers, higher = more likely metastasis, shape `(n,)`.

    Returns:
        Both as arrays of shape `(n,)`, int64 and float64.

    Raises:
        ValueError: When shapes differ, a label is not 0 or 1, or a score is not finite.
    """
    labels, scores = np.asarray(y_true), np.asarray(y_score, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise ValueError(
            f"y_true and y_score must be one-dimensional and equally long, got shapes {labels.shape} and {scores.shape}"
        )
    odd = sorted(set(labels.tolist()) - {0, 1}, key=str)
    if odd:
        raise ValueError(f"y_true must hold 0 and 1 only, got also {odd[:5]}")
    if not np.isfinite(scores).all():
        where = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise ValueError(f"y_score must be finite, got {scores[where]} at position {where}")
    return labels.astype(np.int64), scores


def check_both_classes(y_true: np.ndarray, quantity: str, *, of: str = "") -> None:
    """Raises a ValueError, `"AUROC undefined: ..."`, unless both labels occur in `y_true`."""
    n, n_positive = len(y_true), int(np.sum(y_true))
    if 0 < n_positive < n:
        return
    found = "no scan at all" if n == 0 else f"{n} scans, all with metastasis = {int(n_positive > 0)}"
    where = f" in {of}" if of else ""
    raise ValueError(f"{quantity} undefined: it needs scans of both labels, found {found}{where}")


def arm_scores(predictions: pd.DataFrame, *, partition: str = "test") -> list[ArmScores]:
    """Takes the rows of one partition apart by arm.

    Args:
        predictions: One row per scan and arm: `scan_id, patient_id, arm, partition`, `y_true` (0 or 1),
            `y_score` (0-1).
        partition: The partition to evaluate; rows of others are left out.

    Returns:
        One `ArmScores` per arm, in the order in which arms first occur.

    Raises:
        ValueError: When a column is missing, the partition has no rows, a scan occurs twice in an arm, a
            label is not 0 or 1, a score is not within 0-1, or two arms disagree on a scan's label.
    """
    missing = [name for name in COLUMNS if name not in predictions.columns]
    if missing:
        raise ValueError(f"predictions lack column(s) {', '.join(missing)}; expected {', '.join(COLUMNS)}")
    chosen = predictions[predictions["partition"] == partition].sort_values("scan_id", kind="stable")
    if chosen.empty:
        found = sorted(predictions["partition"].astype(str).unique())
        raise ValueError(f"predictions have no rows with partition = {partition!r}; found {found}")
    _check_rows(chosen)
    order = dict.fromkeys(predictions.loc[predictions["partition"] == partition, "arm"])
    return [_arm(arm, chosen[chosen["arm"] == arm]) for arm in order]


def common_scans(arms: list[ArmScores]) -> None:
    """Raises a ValueError unless all arms scored the same scans (paired tests need this)."""
    first = arms[0]
    for other in arms[1:]:
        differing = set(first.scan_id) ^ set(other.scan_id)
        if differing:
            shown = ", ".join(sorted(map(str, differing))[:5])
            raise ValueError(
                f"arms {first.arm!r} and {other.arm!r} must score the same scans to be compared;"
                f" {len(differing)} differ, such as {shown}"
            )


def threshold_of(thresholds: Mapping[str, float], arm: str) -> float:
    """Returns the arm's threshold, or raises a ValueError that names the arm."""
    if arm not in thresholds or not np.isfinite(thresholds[arm]):
        raise ValueError(
            f"no usable threshold for arm {arm!r}: got {thresholds.get(arm)}; choose one on tuning scores"
            f" (arms with a threshold: {sorted(thresholds)})"
        )
    return float(thresholds[arm])


def _check_rows(chosen: pd.DataFrame) -> None:
    """Checks what must hold over all rows of a partition."""
    twice = chosen[chosen.duplicated(["arm", "scan_id"])]
    if not twice.empty:
        row = twice.iloc[0]
        raise ValueError(f"scan {row['scan_id']!r} occurs more than once in arm {row['arm']!r}")
    for column in ("y_true", "patient_id"):
        split = chosen.groupby("scan_id")[column].nunique(dropna=False)
        if (split > 1).any():
            raise ValueError(f"arms disagree on {column} of scan {split[split > 1].index[0]!r}")
    outside = chosen[~chosen["y_score"].between(0, 1)]
    if not outside.empty:
        row = outside.iloc[0]
        raise ValueError(f"y_score must be within 0-1, got {row['y_score']} (scan {row['scan_id']}, arm {row['arm']})")


def _arm(arm: str, rows: pd.DataFrame) -> ArmScores:
    """Makes one arm's arrays from its rows."""
    y_true, y_score = check_scores(rows["y_true"], rows["y_score"])
    return ArmScores(str(arm), rows["scan_id"].to_numpy(), rows["patient_id"].to_numpy(), y_true, y_score)
