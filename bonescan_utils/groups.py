"""Groups: how well arms do within groups of scans, such as by visible lesion count, sex or site."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd

from bonescan_utils.bootstrap import N_BOOT, PatientBootstrap, weighted_auroc
from bonescan_utils.intervals import CONSTANT, Estimate, auroc, is_constant, undefined, wilson
from bonescan_utils.predictions import ArmScores, arm_scores

TOO_FEW = "too few to say"
UNKNOWN = "unknown"


def auroc_by_group(
    predictions: pd.DataFrame,
    groups: pd.Series,
    *,
    against: str = "all",
    min_scans: int = 10,
    seed: int = 0,
    n_boot: int = N_BOOT,
    partition: str = "test",
) -> pd.DataFrame:
    """AUROC of every arm within groups of scans.

    Args:
        predictions: One row per scan and arm (see `predictions.arm_scores`).
        groups: Group of each scan, indexed by `scan_id`, such as `"3-6"` lesions or a site; '' or NaN
            is unknown.
        against: `all` sets a group's positive scans against all negative scans (for groups that only positive
            scans have, such as lesion counts); `same` against the negative scans of that group.
        min_scans: A group with fewer positive, or negative, scans gets no estimate.
        seed: Seed of the patient bootstrap (used only where patients have several scans).
        n_boot: Resamples of that bootstrap.
        partition: The partition to evaluate.

    Returns:
        A row per arm and group: `arm, group, estimate, ci_low, ci_high, method, n, n_positive, note`. Groups
        come in the order of their categories, else by the first number in their name; those without positive
        scans are left out when `against` is `all`. A group too small has NaN and note `too few to say`;
        one whose scans all have the same score has NaN and a note that says so.

    Raises:
        ValueError: `against` is neither, a scan has two groups, or bad predictions.
    """
    if against not in ("all", "same"):
        raise ValueError(f"against must be 'all' or 'same', got {against!r}")
    rows: list[dict[str, object]] = []
    for scores in arm_scores(predictions, partition=partition):
        for group, inside in group_members(scores, groups).items():
            part = chosen_scans(scores, inside | (scores.y_true == 0) if against == "all" else inside)
            if part.y_true.any() or against == "same":
                found, note = area_or_note(part, min_scans, seed=seed, n_boot=n_boot)
                rows.append({"arm": scores.arm, "group": group, **found._asdict(), "note": note})
    return pd.DataFrame(rows, columns=["arm", "group", *Estimate._fields, "note"])


def group_members(scores: ArmScores, groups: pd.Series) -> dict[str, np.ndarray]:
    """Returns, of each group that occurs, which of the arm's scans are in it, bool `(n_scans,)`.

    Raises:
        ValueError: A scan has two groups.
    """
    if not groups.index.is_unique:
        raise ValueError(f"scan {groups.index[groups.index.duplicated()][0]!r} has more than one group")
    names = {str(scan): _group_name(group) for scan, group in groups.items()}
    member = np.array([names.get(str(scan), UNKNOWN) for scan in scores.scan_id])
    return {group: member == group for group in _ordered(groups, set(member))}


def chosen_scans(scores: ArmScores, chosen: np.ndarray) -> ArmScores:
    """Returns the arm's scores of some scans, bool `(n_scans,)`."""
    return scores._replace(**{name: getattr(scores, name)[chosen] for name in ArmScores._fields[1:]})


def area_or_note(scores: ArmScores, min_scans: int, *, seed: int, n_boot: int) -> tuple[Estimate, str]:
    """AUROC of a group's scans, or NaN and the reason."""
    n, n_positive = len(scores.y_true), int(scores.y_true.sum())
    if min(n_positive, n - n_positive) < max(1, min_scans):
        return Estimate(math.nan, math.nan, math.nan, "", n, n_positive), TOO_FEW
    if is_constant(scores.y_score):
        return undefined(CONSTANT, n, n_positive), CONSTANT
    if not scores.clustered:
        return auroc(scores.y_true, scores.y_score), ""
    resamples = PatientBootstrap(scores.patient_id, scores.y_true, seed=seed, n_boot=n_boot)
    return resamples.of_scores(weighted_auroc, scores.y_score), ""


def share_of_scans(scores: ArmScores, counted: np.ndarray, *, seed: int, n_boot: int) -> Estimate:
    """Share of some scans that count, bool `(n_scans,)`, at least one scan; patients are drawn whole.

    Wilson's interval where each patient has one scan, else by the patient bootstrap: scans of a patient are alike.
    """
    n, n_positive = len(counted), int(scores.y_true.sum())
    if not scores.clustered:
        return Estimate(float(counted.mean()), *wilson(int(counted.sum()), n), "Wilson", n, n_positive)
    resamples = PatientBootstrap(scores.patient_id, np.zeros(n, dtype=np.int64), seed=seed, n_boot=n_boot)
    return resamples.share(counted)._replace(n_positive=n_positive)


def _group_name(group: object) -> str:
    return UNKNOWN if group is None or group == "" or group != group else str(group)  # NaN is not itself


def _ordered(groups: pd.Series, present: set[str]) -> list[str]:
    """Returns the groups that are present, in their categories' order or by their first number."""
    if isinstance(groups.dtype, pd.CategoricalDtype):
        known = [str(group) for group in groups.cat.categories if str(group) in present]
    else:
        known = sorted(present - {UNKNOWN}, key=_first_number)
    return known + ([UNKNOWN] if UNKNOWN in present and UNKNOWN not in known else [])


def _first_number(name: str) -> tuple[float, str]:
    number = re.search(r"\d+(\.\d+)?", name)
    return (float(number.group()) if number else math.inf), name
