"""Failures: the scans an arm called wrongly, each with the reason a reader would give where the truth tells one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bonescan_utils.bootstrap import N_BOOT
from bonescan_utils.groups import chosen_scans, share_of_scans
from bonescan_utils.intervals import Estimate
from bonescan_utils.lesions import VISIBLE
from bonescan_utils.predictions import ArmScores, arm_scores, threshold_of

FAINT = 1.5
"""A metastasis is faint where its peak over the background stays below this in both views."""

BLADDER_REGIONS = ("sacrum", "ischiopubis")
BLADDER_MM = 48.0
"""The phantom's bladder reaches so far from the midline; lesions of these regions within it may lie behind urine."""

NOTHING_VISIBLE = "no visible metastasis"
URINE = "urine overlap"
SOLITARY_FAINT = "solitary faint lesion"
FAINT_ONLY = "faint lesions only"
SOLITARY = "solitary lesion"
MIMIC = "mimic"
NO_REASON = "no reason in the truth"
NO_TRUTH = "no truth"
REASONS = (NOTHING_VISIBLE, URINE, SOLITARY_FAINT, FAINT_ONLY, SOLITARY, MIMIC, NO_REASON, NO_TRUTH)
"""Reasons in the order in which they are tried; a scan has the first that holds."""

COLUMNS = [
    "scan_id", "outcome", "y_true", "y_score", "threshold", "margin", "reason", "visible_metastases", "finding",
    "region", "visibility",
]  # fmt: skip
REASON_COLUMNS = ["outcome", "reason", *Estimate._fields, "n_failed"]


def failure_table(
    predictions: pd.DataFrame,
    thresholds: Mapping[str, float],
    arm: str,
    *,
    lesions: pd.DataFrame | None = None,
    partition: str = "test",
) -> pd.DataFrame:
    """Lists the misses and false alarms of an arm, the worst first.

    A missed scan has the first of these reasons that holds: `no visible metastasis`; `urine overlap` (all that can be
    seen lies where the bladder may cover it); `solitary faint lesion`; `faint lesions only`; `solitary lesion`. A
    false alarm has `mimic` where a benign focus stands out as a visible metastasis would. Else it is `no reason in the
    truth`; scans without truth have `no truth`. A reason is what a reader would offer, not what moved the network.

    Args:
        predictions: One row per scan and arm (see `predictions.arm_scores`).
        thresholds: Threshold of each arm, 0-1; `y_score >= threshold` calls metastasis.
        arm: The arm.
        lesions: Findings of phantoms, one row each (`phantom.read_lesions`); None without truth.
        partition: The partition to look at.

    Returns:
        `scan_id, outcome` (Miss or False alarm)`, y_true, y_score, threshold, margin` (distance from the threshold)`,
        reason, visible_metastases`, and of the finding that stands out most (a metastasis in misses, a benign focus in
        false alarms) `finding, region, visibility`; misses first, by margin.

    Raises:
        ValueError: The arm has no predictions or no threshold, or bad predictions.
    """
    table = _with_reasons(_scores_of(predictions, arm, partition), threshold_of(thresholds, arm), lesions)
    wrong = table[table["failed"]].assign(order=lambda rows: rows["outcome"] != "Miss")
    order = ["order", "margin", "scan_id"]
    return wrong.sort_values(order, ascending=[True, False, True])[COLUMNS].reset_index(drop=True)


def reason_table(
    predictions: pd.DataFrame,
    thresholds: Mapping[str, float],
    arm: str,
    *,
    lesions: pd.DataFrame | None = None,
    partition: str = "test",
    seed: int = 0,
    n_boot: int = N_BOOT,
) -> pd.DataFrame:
    """Counts failures by reason, among all scans of which the same could be said.

    Args:
        predictions: As in `failure_table`, and so are the others.
        thresholds: Threshold of each arm.
        arm: The arm.
        lesions: Findings of phantoms; None without truth.
        partition: The partition to look at.
        seed: Seed of the patient bootstrap (used only where patients have several scans).
        n_boot: Resamples of that bootstrap.

    Returns:
        `outcome, reason, estimate` (share of the scans of that kind that failed)`, ci_low, ci_high, method` (Wilson, or
        `patient bootstrap`)`, n` (scans of that kind)`, n_positive, n_failed`. Every scan is in one row: `n` adds up to
        the partition.

    Raises:
        ValueError: As `failure_table`.
    """
    scores = _scores_of(predictions, arm, partition)
    table = _with_reasons(scores, threshold_of(thresholds, arm), lesions)
    rows = []
    for outcome in ("Miss", "False alarm"):
        for reason in REASONS:
            kind = ((table["outcome"] == outcome) & (table["reason"] == reason)).to_numpy()
            if kind.any():
                failed = table["failed"].to_numpy()[kind]
                found = share_of_scans(chosen_scans(scores, kind), failed, seed=seed, n_boot=n_boot)
                rows.append({"outcome": outcome, "reason": reason, **found._asdict(), "n_failed": int(failed.sum())})
    return pd.DataFrame(rows, columns=REASON_COLUMNS)


def _scores_of(predictions: pd.DataFrame, arm: str, partition: str) -> ArmScores:
    found = {scores.arm: scores for scores in arm_scores(predictions, partition=partition)}
    if arm not in found:
        raise ValueError(f"arm must be one of {sorted(found)}, got {arm!r}")
    return found[arm]


def _with_reasons(scores: ArmScores, threshold: float, lesions: pd.DataFrame | None) -> pd.DataFrame:
    """Returns a row per scan: what it is or would be if it failed, whether it did, and the reason it has."""
    positive, called = scores.y_true == 1, scores.y_score >= threshold
    table = pd.DataFrame(
        {
            "scan_id": scores.scan_id.astype(str), "outcome": np.where(positive, "Miss", "False alarm"),
            "y_true": scores.y_true, "y_score": scores.y_score, "threshold": threshold,
            "margin": np.abs(scores.y_score - threshold), "failed": positive != called,
        }
    )  # fmt: skip
    if lesions is None:
        return table.assign(reason=NO_TRUTH, visible_metastases=np.nan, finding="", region="", visibility=np.nan)
    findings = {str(name): rows for name, rows in _standing_out(lesions).groupby("scan_id")}
    none = _standing_out(lesions.head(0))
    told = [_told(findings.get(s, none), bool(y)) for s, y in zip(table["scan_id"], table["y_true"], strict=True)]
    return table.join(pd.DataFrame(told, index=table.index))


def _standing_out(lesions: pd.DataFrame) -> pd.DataFrame:
    """Returns findings with `metastasis` (bool) and `peak`, how much each stands out, comparable between the kinds.

    The truth gives a metastasis over a background without it, but a benign focus over one that holds it: v of the
    latter is v / (1 - v) of the former.
    """
    seen = lesions[["vis_anterior", "vis_posterior"]].astype(float).max(axis=1)
    metastasis = lesions["kind"] == "metastasis"
    over: pd.Series = seen / np.maximum(1 - seen, 1e-3)
    names = lesions.assign(scan_id=lesions["scan_id"].astype(str))
    return names.assign(metastasis=metastasis, peak=np.where(metastasis, seen, over))


def _told(findings: pd.DataFrame, positive: bool) -> dict[str, object]:
    """Returns the reason, and the finding that stands out most, of one scan."""
    metastases = findings[findings["metastasis"]]
    visible = metastases[metastases["peak"] >= VISIBLE]
    shown = metastases if positive else findings[~findings["metastasis"]]
    reason = _reason_of_miss(visible) if positive else _reason_of_alarm(shown)
    told: dict[str, object] = {"reason": reason, "visible_metastases": len(visible)}
    if shown.empty:
        return told | {"finding": "", "region": "", "visibility": np.nan}
    most = shown.iloc[int(shown["peak"].to_numpy().argmax())]
    return told | {"finding": most["kind"], "region": most["region"], "visibility": round(float(most["peak"]), 3)}


def _reason_of_miss(visible: pd.DataFrame) -> str:
    if visible.empty:
        return NOTHING_VISIBLE
    pelvic = visible["region"].str.startswith(BLADDER_REGIONS) & (visible["x_mm"].astype(float).abs() <= BLADDER_MM)
    if pelvic.all():
        return URINE
    if visible["peak"].max() < FAINT:
        return SOLITARY_FAINT if len(visible) == 1 else FAINT_ONLY
    return SOLITARY if len(visible) == 1 else NO_REASON


def _reason_of_alarm(benign: pd.DataFrame) -> str:
    return MIMIC if (benign["peak"] >= VISIBLE).any() else NO_REASON
