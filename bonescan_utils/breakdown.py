"""Breakdown: what saliency maps find by number of lesions, by how visible they are, and by region of the skeleton.

A lesion belongs to its own group, a scan to that of its most prominent lesion. All numbers come from one set of
resampled patients, so that two maps are compared on the same resamples. No TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr

from bonescan_utils.bootstrap import N_BOOT, PatientBootstrap, percentile_interval
from bonescan_utils.groups import TOO_FEW
from bonescan_utils.lesions import SKELETON, VISIBLE, lesion_bands, skeletal_region, visibility_bands
from bonescan_utils.paired import holm

FALSE_FOCI = 1.0
"""False foci a scan that are put up with where the share of lesions found is told."""
MIN_PATIENTS = 10
"""A group of fewer patients gets no estimate."""
ALL = "all"
FACTORS = ("visible_lesions", "visibility", "region")
SCAN_MEASURES = ("pointing", "energy")
SENSITIVITY = "lesion_sensitivity"
CELLS = 4_000_000
"""Resample-by-focus cells worked on at once."""

_ESTIMATE = ["estimate", "ci_low", "ci_high"]
TABLE = ["map", "factor", "group", "measure", *_ESTIMATE, "n", "patients", "note"]
DIFFERENCES = ["map_a", "map_b", "factor", "group", "measure", "difference", "ci_low", "ci_high", "p", "p_holm", "n",
               "patients", "note"]  # fmt: skip


@dataclass(frozen=True)
class _Cell:
    """One measure within one group: which scans or lesions count, bool."""

    factor: str
    group: str
    measure: str
    members: np.ndarray
    patients: int


def phantom_findings(lesions: pd.DataFrame) -> pd.DataFrame:
    """Return the visible metastases of phantoms as `breakdown_table` takes them.

    Args:
        lesions: Findings of phantoms, one row each (`phantom.read_lesions`).

    Returns:
        scan_id, lesion (its number in the labelled truth), prominence (visibility), visibility (its band), region.
    """
    peak = lesions[["vis_anterior", "vis_posterior"]].astype(float).max(axis=1)
    seen = lesions[(lesions["kind"] == "metastasis") & (peak >= VISIBLE)]
    return pd.DataFrame({
        "scan_id": seen["scan_id"].astype(str), "lesion": seen["lesion"].astype(int) + 1,
        "prominence": peak[seen.index], "visibility": visibility_bands(peak[seen.index]),
        "region": seen["region"].map(skeletal_region),
    }).reset_index(drop=True)  # fmt: skip


def breakdown_table(
    scores: pd.DataFrame,
    marks: pd.DataFrame,
    findings: pd.DataFrame,
    patients: pd.Series,
    *,
    seed: int = 0,
    n_boot: int = N_BOOT,
) -> pd.DataFrame:
    """Pointing game, energy and lesion-wise sensitivity of each map by group.

    The sensitivity is that at `FALSE_FOCI` false foci a scan; the cut that allows so many is found anew in every
    resample, over all scans, and is the same for all groups.

    Args:
        scores: A row per scan with visible lesions and map: scan_id, map, pointing, energy (`explanation.localise`).
        marks: Foci of all scans whose truth is known (`explanation.localise`): map, scan_id, strength, lesion.
        findings: Lesions with their groups: scan_id, lesion, prominence, and columns of `FACTORS`, as far as known.
        patients: Patient of each scan, indexed by scan_id.
        seed: Seed of the bootstrap.
        n_boot: Its resamples.

    Returns:
        map, factor (`all`, or one of `FACTORS`), group, measure, estimate, ci_low, ci_high, n (scans; of
        `lesion_sensitivity` lesions), patients, note. A group of fewer than `MIN_PATIENTS` patients has no estimate.
    """
    work = _Work(scores, marks, findings, patients, seed=seed, n_boot=n_boot)
    rows = []
    for name in work.maps:
        own, resampled = work.of_map(name)
        for at, cell in enumerate(work.cells):
            known = cell.patients >= MIN_PATIENTS
            bounds = percentile_interval(resampled[:, at], float(own[at])) if known else (math.nan, math.nan)
            rows.append((name, *work.about(cell), own[at] if known else math.nan, *bounds, *work.sizes(cell)))
    return pd.DataFrame(rows, columns=TABLE)


def breakdown_differences(
    scores: pd.DataFrame,
    marks: pd.DataFrame,
    findings: pd.DataFrame,
    patients: pd.Series,
    *,
    reference: str,
    seed: int = 0,
    n_boot: int = N_BOOT,
) -> pd.DataFrame:
    """Difference of one map, named beforehand, from every other, group by group, on the same scans.

    Paired patient bootstrap; the p-value is that of the normal deviate of its standard error, adjusted after Holm over
    all comparisons of one measure in the table.

    Args:
        scores: As in :func:`breakdown_table`.
        marks: As there.
        findings: As there.
        patients: As there.
        reference: The map that the others are compared with.
        seed: Seed of the bootstrap.
        n_boot: Its resamples.

    Returns:
        map_a (the reference), map_b, factor, group, measure, difference (a - b), ci_low, ci_high, p, p_holm, n,
        patients, note. No row where the reference is not among the maps.
    """
    work = _Work(scores, marks, findings, patients, seed=seed, n_boot=n_boot)
    if reference not in work.maps:
        return pd.DataFrame(columns=DIFFERENCES)
    found = {name: work.of_map(name) for name in work.maps}
    rows = []
    for other in (name for name in work.maps if name != reference):
        own, resampled = (found[reference][part] - found[other][part] for part in (0, 1))
        for at, cell in enumerate(work.cells):
            numbers = _compared(float(own[at]), resampled[:, at]) if cell.patients >= MIN_PATIENTS else (math.nan,) * 4
            rows.append((reference, other, *work.about(cell), *numbers, math.nan, *work.sizes(cell)))
    table = pd.DataFrame(rows, columns=DIFFERENCES)
    table["p_holm"] = table.groupby("measure")["p"].transform(lambda p: holm(p.to_numpy(dtype=float)))
    return table


def _compared(difference: float, values: np.ndarray) -> tuple[float, float, float, float]:
    """Return a difference, its interval and its two-sided p-value; NaN where resamples do not differ at all."""
    error = float(np.nanstd(values, ddof=1))
    p = 2 * float(ndtr(-abs(difference / error))) if error > 1e-12 else math.nan  # below: rounding error
    return difference, *percentile_interval(values, difference), p


class _Work:
    """Scans, lesions and groups as arrays, and the resamples that all maps share."""

    def __init__(
        self, scores: pd.DataFrame, marks: pd.DataFrame, findings: pd.DataFrame, patients: pd.Series, *, seed: int,
        n_boot: int,
    ) -> None:  # fmt: skip
        self.maps = list(dict.fromkeys(scores["map"]))
        self._scans = pd.Index(dict.fromkeys(marks["scan_id"]))
        known = findings[findings["scan_id"].isin(self._scans)]
        first = marks[marks["map"] == self.maps[0]] if self.maps else marks
        drawn = first.loc[first["lesion"] > 0, ["scan_id", "lesion"]]
        self._lesions = drawn.merge(known, on=["scan_id", "lesion"], how="left", validate="one_to_one")
        bands = lesion_bands(self._lesions.groupby("scan_id").size())
        self._lesions["visible_lesions"] = self._lesions["scan_id"].map(bands)
        self._of_scan = self._lesions.sort_values("prominence", ascending=False).drop_duplicates("scan_id")
        self._patients = patients.loc[self._scans].to_numpy() if len(self._scans) else np.empty(0)
        self._scores, self._marks = scores, marks
        self.cells = list(self._all_cells()) if self.maps else []
        if self.maps:
            ill = np.isin(self._scans, self._lesions["scan_id"]).astype(int)
            self._resamples = PatientBootstrap(self._patients, ill, seed=seed, n_boot=n_boot)

    def about(self, cell: _Cell) -> tuple[str, str, str]:
        return cell.factor, cell.group, cell.measure

    def sizes(self, cell: _Cell) -> tuple[int, int, str]:
        return int(cell.members.sum()), cell.patients, "" if cell.patients >= MIN_PATIENTS else TOO_FEW

    def of_map(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the value of each cell, (cells,), and of each resample, (resamples, cells)."""
        mine = self._scores[self._scores["map"] == name].set_index("scan_id")
        values = mine[list(SCAN_MEASURES)].reindex(self._scans).fillna(0.0)
        foci = self._marks[self._marks["map"] == name]

        def statistic(weights: np.ndarray) -> np.ndarray:
            found = self._found(weights, foci)
            columns = [self._ratio(weights, found, values, cell) for cell in self.cells]
            return np.stack(columns, axis=1)

        return statistic(np.ones((1, len(self._scans))))[0], self._resamples.values(statistic)

    def _ratio(self, weights: np.ndarray, found: np.ndarray, values: pd.DataFrame, cell: _Cell) -> np.ndarray:
        """Return the weighted mean of a cell's members per resample; NaN where none was drawn."""
        if cell.measure == SENSITIVITY:
            drawn = weights[:, self._scans.get_indexer(self._lesions["scan_id"])[cell.members]]
            above = (drawn * found[:, cell.members]).sum(axis=1)
        else:
            drawn = weights[:, cell.members]
            above = drawn @ values.loc[self._scans[cell.members], cell.measure].to_numpy(float)
        below = drawn.sum(axis=1)
        return np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)

    def _found(self, weights: np.ndarray, foci: pd.DataFrame) -> np.ndarray:
        """Return which lesions are found per resample, bool (resamples, lesions)."""
        false = foci[foci["lesion"] == 0].sort_values("strength", ascending=False, kind="stable")
        scans, strength = self._scans.get_indexer(false["scan_id"]), false["strength"].to_numpy(float)
        keys = pd.MultiIndex.from_frame(self._lesions[["scan_id", "lesion"]])
        lesion = foci[foci["lesion"] > 0].set_index(["scan_id", "lesion"])["strength"].reindex(keys).to_numpy(float)
        parts = np.array_split(weights, max(1, math.ceil(len(weights) * max(1, len(scans)) / CELLS)))
        cuts = np.concatenate([_cuts(part, scans, strength) for part in parts])
        return np.asarray(lesion > cuts[:, None])

    def _all_cells(self) -> Sequence[_Cell]:
        """Return every measure of every group, all scans first."""
        cells = [*self._of_group(ALL, "all scans", np.ones(len(self._lesions), bool))]
        for factor in (name for name in FACTORS if name in self._lesions and self._lesions[name].notna().any()):
            present = set(self._lesions[factor].dropna())
            for group in (name for name in _order(self._lesions[factor]) if name in present):
                cells += self._of_group(factor, str(group), (self._lesions[factor] == group).to_numpy())
        return cells

    def _of_group(self, factor: str, group: str, inside: np.ndarray) -> list[_Cell]:
        lesions = self._lesions[inside]
        leading = lesions["scan_id"][lesions.index.isin(self._of_scan.index)]
        scans = np.isin(self._scans, leading)
        n_scans = len(set(self._patients[scans]))
        n_lesions = len(set(self._patients[np.isin(self._scans, lesions["scan_id"])]))
        return [
            *(_Cell(factor, group, measure, scans, n_scans) for measure in SCAN_MEASURES),
            _Cell(factor, group, SENSITIVITY, inside, n_lesions),
        ]


def _order(groups: pd.Series) -> Sequence[str]:
    """Return the groups of a factor in their order; of regions from head to toes."""
    return list(groups.cat.categories) if isinstance(groups.dtype, pd.CategoricalDtype) else SKELETON


def _cuts(weights: np.ndarray, scans: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Return per resample the strength that a focus must exceed, (resamples,), -inf where no false focus is too many.

    Args:
        weights: How often each scan was drawn, (resamples, scans).
        scans: Scan of each false focus, strongest first.
        strength: Its strength.
    """
    if not len(scans):
        return np.full(len(weights), -np.inf)
    allowed, enough = FALSE_FOCI * weights.sum(axis=1, keepdims=True), 4 * weights.shape[1]
    while enough < len(scans) and not (weights[:, scans[:enough]].sum(axis=1, keepdims=True) > allowed).all():
        enough *= 2  # of a map's thousands of foci only the strongest decide
    too_many = np.cumsum(weights[:, scans[:enough]], axis=1) > allowed
    return np.where(too_many.any(axis=1), strength[too_many.argmax(axis=1)], -np.inf)
