"""Subgroups: the factors scans are grouped by, and how well arms do within every group of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pandas as pd

from bonescan_utils.bootstrap import N_BOOT
from bonescan_utils.groups import TOO_FEW, UNKNOWN, area_or_note, chosen_scans, group_members, share_of_scans
from bonescan_utils.intervals import Estimate
from bonescan_utils.lesions import lesion_bands, peak_visibility, visible_lesions
from bonescan_utils.predictions import ArmScores, arm_scores, threshold_of

MIN_SCANS = 10
AGE_EDGES = (50, 60, 70, 80)
VISIBILITY_EDGES = (0.8, 1.5, 2.5)
OF_POSITIVES = ("visible_metastases", "visibility")
"""Factors that only scans with metastasis have; their AUROC is against all scans without."""

COLUMNS = ["factor", "group", "arm", "metric", *Estimate._fields, "note"]
ALL = "all scans"


def scan_groups(cohort: pd.DataFrame, *, lesions: pd.DataFrame | None = None) -> pd.DataFrame:
    """Sorts scans into groups, one column per factor.

    Args:
        cohort: scan_id, metastasis, and as far as known age (years), sex, primary_cancer, site, scanner,
            counts_anterior, counts_posterior. A value that is missing makes the group `unknown`.
        lesions: Findings of phantoms, one row each (`phantom.read_lesions`); None without truth.

    Returns:
        Indexed by scan_id (str), an ordered category per factor: `sex`, `age` (bands of ten years), `primary_cancer`,
        `site`, `scanner`, `count_level` (thirds of this cohort by counts of both views), and with lesions
        `visible_metastases` and `visibility` (of the most visible metastasis, peak over background); these two are
        missing for scans without metastasis. A factor that does not split the cohort is left out.
    """
    rows = cohort.assign(scan_id=cohort["scan_id"].astype(str)).set_index("scan_id")
    found = {name: _named(rows[name]) for name in ("sex", "primary_cancer", "site", "scanner") if name in rows}
    found |= {"age": _bands(rows["age"], AGE_EDGES)} if "age" in rows else {}
    counts = [name for name in ("counts_anterior", "counts_posterior") if name in rows]
    if counts:
        found["count_level"] = _thirds(rows[counts].apply(pd.to_numeric, errors="coerce").sum(axis=1, min_count=1))
    if lesions is not None and len(lesions):
        positive = rows.index[rows["metastasis"].astype(int) == 1].to_series()
        found["visible_metastases"] = lesion_bands(visible_lesions(lesions, positive)).reindex(rows.index)
        found["visibility"] = _bands(peak_visibility(lesions, positive), VISIBILITY_EDGES).reindex(rows.index)
    order = ["sex", "age", "primary_cancer", "site", "scanner", "count_level", *OF_POSITIVES]
    told = [name for name in order if name in found and found[name].nunique() > 1]
    return pd.DataFrame({name: found[name] for name in told}, index=rows.index)


def subgroup_table(
    predictions: pd.DataFrame,
    thresholds: Mapping[str, float],
    groups: pd.DataFrame,
    *,
    min_scans: int = MIN_SCANS,
    seed: int = 0,
    n_boot: int = N_BOOT,
    partition: str = "test",
) -> pd.DataFrame:
    """AUROC, sensitivity and specificity of every arm within every group of every factor.

    Subgroups are many and small: they show where to look, and prove no difference.

    Args:
        predictions: One row per scan and arm (see `predictions.arm_scores`).
        thresholds: Threshold of each arm, 0-1; `y_score >= threshold` calls metastasis.
        groups: From `scan_groups`.
        min_scans: A group with fewer scans of a label that a metric needs gets no estimate.
        seed: Seed of the patient bootstrap (used only where patients have several scans).
        n_boot: Resamples of that bootstrap.
        partition: The partition to evaluate.

    Returns:
        `factor, group, arm, metric, estimate, ci_low, ci_high, method, n, n_positive, note`; the factor `all` with
        the group `all scans` comes first, then factors and groups in their order. `n` counts the scans of the metric:
        those with metastasis for sensitivity, those without for specificity, and for AUROC all scans of the group (for
        `visible_metastases` and `visibility` its scans with metastasis and all scans without). A number that is not
        given is NaN, and `note` says why, such as `too few to say`.

    Raises:
        ValueError: A missing threshold, a scan with two groups, or bad predictions.
    """
    whole = pd.DataFrame({"all": ALL}, index=groups.index)
    rows: list[dict[str, object]] = []
    for factor, column in [*whole.items(), *groups.items()]:
        of_factor = []
        for scores in arm_scores(predictions, partition=partition):
            called = scores.y_score >= threshold_of(thresholds, scores.arm)
            for place, (group, inside) in enumerate(group_members(scores, column).items()):
                for row in _rows(scores, called, inside, str(factor), min_scans, seed=seed, n_boot=n_boot):
                    of_factor.append((place, {"factor": factor, "group": group, "arm": scores.arm} | row))
        rows += [row for _, row in sorted(of_factor, key=lambda item: item[0])]  # by group, then arm
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(
    scores: ArmScores, called: np.ndarray, inside: np.ndarray, factor: str, min_scans: int, *, seed: int, n_boot: int
) -> list[dict[str, object]]:
    """The metrics of one arm in one group; none of a group that has nothing to do with the factor."""
    positive = scores.y_true == 1
    of_positives = factor in OF_POSITIVES
    if of_positives and not (inside & positive).any():
        return []
    part = chosen_scans(scores, inside | ~positive if of_positives else inside)
    area, note = area_or_note(part, min_scans, seed=seed, n_boot=n_boot)
    rows: list[dict[str, object]] = [{"metric": "AUROC", **area._asdict(), "note": note}]
    right = called == positive
    rates = {"sensitivity": inside & positive, "specificity": inside & ~positive}
    for metric in ("sensitivity",) if of_positives else rates:
        mask = rates[metric]
        found, note = _rate(chosen_scans(scores, mask), right[mask], min_scans, seed=seed, n_boot=n_boot)
        rows.append({"metric": metric, **found._asdict(), "note": note})
    return rows


def _rate(scores: ArmScores, right: np.ndarray, min_scans: int, *, seed: int, n_boot: int) -> tuple[Estimate, str]:
    """Share of these scans, all of one label, that were called rightly; or NaN and the reason."""
    n, n_positive = len(right), int(scores.y_true.sum())
    if n < max(1, min_scans):
        return Estimate(math.nan, math.nan, math.nan, "", n, n_positive), TOO_FEW
    return share_of_scans(scores, right, seed=seed, n_boot=n_boot), ""


# ------------------------------------------------------------------------------------------------ groups
def _named(values: pd.Series) -> pd.Series:
    """Returns names as an ordered category: sorted, `unknown` last."""
    text = values.astype("object").where(values.notna() & (values.astype(str) != ""), UNKNOWN).astype(str)
    names = sorted(set(text) - {UNKNOWN}) + [UNKNOWN] * bool((text == UNKNOWN).any())
    return text.astype(pd.CategoricalDtype(names, ordered=True))


def _bands(values: pd.Series, edges: tuple[float, ...]) -> pd.Series:
    """Returns the band of each number, such as `below 50`, `50 to <60`, `80 or more`; `unknown` for none."""
    low, high = f"below {edges[0]:g}", f"{edges[-1]:g} or more"
    names = [low, *(f"{a:g} to <{b:g}" for a, b in pairwise(edges)), high]
    numbers = pd.to_numeric(values, errors="coerce")
    place = np.searchsorted(edges, numbers.to_numpy(dtype=float), side="right")
    text = pd.Series(np.where(numbers.isna(), UNKNOWN, np.array(names)[np.minimum(place, len(edges))]), values.index)
    known = [*names, *([UNKNOWN] if numbers.isna().any() else [])]
    return text.astype(pd.CategoricalDtype(known, ordered=True))


def _thirds(counts: pd.Series) -> pd.Series:
    """Returns which third of the cohort a scan's counts are in, with its bounds in millions."""
    known = counts.dropna()
    if known.empty:
        return _named(counts)
    low, high = (float(known.quantile(share)) / 1e6 for share in (1 / 3, 2 / 3))
    names = np.array([f"low, to {low:.2f} M", f"middle, to {high:.2f} M", f"high, above {high:.2f} M"])
    place = np.searchsorted([low, high], counts.to_numpy(dtype=float) / 1e6, side="left")
    text = pd.Series(np.where(counts.isna(), UNKNOWN, names[np.minimum(place, 2)]), counts.index)
    return text.astype(pd.CategoricalDtype([*names, *([UNKNOWN] if counts.isna().any() else [])], ordered=True))
