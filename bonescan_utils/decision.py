"""Decision curves: what acting on an arm's scores would gain, against treating all or none (no TensorFlow)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bonescan_utils.bootstrap import N_BOOT, WITH_ADDED, PatientBootstrap
from bonescan_utils.intervals import Estimate
from bonescan_utils.predictions import ArmScores, arm_scores, check_both_classes

AT = tuple(round(step / 100, 2) for step in range(1, 100))
COLUMNS = [
    "arm", "threshold", *Estimate._fields, "treat_all", "treat_none", "gain", "gain_low", "gain_high", "prevalence",
]  # fmt: skip


def net_benefit_table(
    predictions: pd.DataFrame,
    *,
    seed: int,
    at: Sequence[float] = AT,
    prevalence: float | None = None,
    n_boot: int = N_BOOT,
    partition: str = "test",
) -> pd.DataFrame:
    """Net benefit of every arm over the range of thresholds at which one would act.

    Net benefit = sensitivity x prevalence - false alarm rate x (1 - prevalence) x odds of the threshold: metastases
    found per scan, less the false alarms at their exchange rate. It reads scores as probabilities; recalibrate first
    if they are none.

    Args:
        predictions: One row per scan and arm (see `predictions.arm_scores`).
        seed: Seed of the patient bootstrap.
        at: Thresholds, between 0 and 1; a scan whose score is at least the threshold is acted on.
        prevalence: Share of metastasis where the arm will be used, 0-1; that of the sample if not given.
        n_boot: Resamples of the patient bootstrap, at least 100.
        partition: The partition to evaluate.

    Returns:
        A row per arm and threshold: `arm, threshold, estimate` (net benefit)`, ci_low, ci_high, method, n, n_positive,
        treat_all, treat_none` (0)`, gain, gain_low, gain_high` (over the better of treating all and none)`,
        prevalence`. Intervals take the prevalence as given: resamples are stratified by label. They are pointwise.

    Raises:
        ValueError: A threshold or the prevalence is not between 0 and 1, only one label occurs, or bad predictions.

    Source:
        Vickers & Elkin, Med Decis Making 2006;26:565-574; a prevalence of choice: Vickers et al., Diagn Progn Res
        2019;3:18.
    """
    steps = np.asarray(at, dtype=float)
    wrong = [float(value) for value in [*steps, *([] if prevalence is None else [prevalence])] if not 0 < value < 1]
    if wrong or not len(steps):
        raise ValueError(f"thresholds and prevalence must be between 0 and 1, got {wrong[:5]}")
    parts = []
    for scores in arm_scores(predictions, partition=partition):
        check_both_classes(scores.y_true, "net benefit", of=f"arm {scores.arm}, partition {partition}")
        share = float(scores.y_true.mean()) if prevalence is None else prevalence
        parts.append(_curve(scores, steps, share, seed=seed, n_boot=n_boot))
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def _curve(scores: ArmScores, at: np.ndarray, prevalence: float, *, seed: int, n_boot: int) -> pd.DataFrame:
    """The decision curve of one arm."""
    n, n_positive = len(scores.y_true), int(scores.y_true.sum())
    odds = at / (1 - at)

    def net_benefit(weights: np.ndarray, true: np.ndarray, score: np.ndarray) -> np.ndarray:
        acted = score[:, None] >= at  # (n_scans, n_thresholds)
        found, false = (
            weights @ (acted & (true == label)[:, None]).astype(float) / (weights @ (true == label))[:, None]
            for label in (1, 0)
        )
        return found * prevalence - false * (1 - prevalence) * odds

    resamples = PatientBootstrap(scores.patient_id, scores.y_true, seed=seed, n_boot=n_boot)
    own, low, high = resamples.bands_of_scores(net_benefit, scores.y_score)
    treat_all = prevalence - (1 - prevalence) * odds
    default = np.maximum(treat_all, 0.0)
    return pd.DataFrame(
        {
            "arm": scores.arm, "threshold": at, "estimate": own, "ci_low": low, "ci_high": high,
            "method": WITH_ADDED,
            "n": n, "n_positive": n_positive, "treat_all": treat_all, "treat_none": 0.0,
            "gain": own - default, "gain_low": low - default, "gain_high": high - default, "prevalence": prevalence,
        }
    )  # fmt: skip
