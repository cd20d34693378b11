"""Localisation: saliency maps scored against lesion truth, scan by scan, beside maps that know nothing of the model.

All is measured on the model's image, where a map is made. Only lesions that can be seen count; pixels of the others
are left out: a map is neither rewarded nor blamed for them. No TensorFlow here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage as ndi
from sklearn.metrics import average_precision_score

from bonescan_utils.bootstrap import N_BOOT, PatientBootstrap, Statistic, weighted_ratio
from bonescan_utils.lesions import VISIBLE
from bonescan_utils.phantom.uptake import PLACES
from bonescan_utils.preprocessing import Prepared

PEAK_PIXELS = 7
"""Side of the square (pixels of the model's image) in which a focus is the highest point."""
REACH_PIXELS = 1
"""A focus this far from a lesion still marks it: a map is drawn by an interpolation."""
FALSE_FOCI = (0.5, 1.0, 2.0, 4.0)
"""False foci a scan at which the share of lesions found is told (FROC)."""
MEASURES = ("pointing", "energy", "area", "ratio", "auprc", "dice", "iou")
SHARES = (*(f"in_{place}" for place in PLACES), "outside_body")
COLUMNS = ["scan_id", "map", *MEASURES, *SHARES, "lesions"]
MARKS = ["map", "scan_id", "strength", "lesion"]


@dataclass(frozen=True)
class Truth:
    """What is known of one scan, on the model's image.

    Attributes:
        lesions: uint8 (h, w): n where visible lesion n lies, 0 elsewhere.
        ignored: bool (h, w): pixels of lesions that cannot be seen.
        places: uint8 (h, w): 1 + index in `PLACES` of what is hot outside bone.
        body: bool (h, w): the body of both views.
    """

    lesions: np.ndarray
    ignored: np.ndarray
    places: np.ndarray
    body: np.ndarray


def truth_of(
    prepared: Prepared,
    labels: Mapping[str, np.ndarray],
    places: Mapping[str, np.ndarray],
    lesions: pd.DataFrame,
    *,
    visible: float = VISIBLE,
) -> Truth:
    """Bring the truth of one phantom to the model's image.

    Args:
        prepared: The scan's image, with where each view lies in it.
        labels: View -> uint8 on counts pixels: lesion + 1.
        places: View -> uint8 on counts pixels: 1 + index in `PLACES`.
        lesions: The scan's findings (`phantom.read_lesions`).
        visible: Least visibility, in either view, of a lesion that counts.
    """
    shape = prepared.image.shape
    peak = lesions[["vis_anterior", "vis_posterior"]].astype(float).max(axis=1)
    seen = lesions.loc[(lesions["kind"] == "metastasis") & (peak >= visible), "lesion"].astype(int) + 1
    found, hot = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for view, place in prepared.placements.items():
        found = np.maximum(found, place.labels_to_model_space(labels[view], shape))
        hot = np.maximum(hot, place.labels_to_model_space(places[view], shape))
    counts = np.isin(found, seen.to_numpy())
    return Truth(np.where(counts, found, 0), (found > 0) & ~counts, hot, _body(prepared))


def boxed_truth(prepared: Prepared, labels: Mapping[str, np.ndarray]) -> Truth:
    """Bring lesions that readers have boxed to the model's image; what is hot outside bone is not known then.

    Args:
        prepared: The scan's image, with where each view lies in it.
        labels: View -> uint8 on counts pixels: number of the lesion (`boxes.Boxes.labels`).
    """
    shape = prepared.image.shape
    found, nothing = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for view, place in prepared.placements.items():
        if view in labels:
            found = np.maximum(found, place.labels_to_model_space(labels[view], shape))
    return Truth(found, nothing > 0, nothing, _body(prepared))


def _body(prepared: Prepared) -> np.ndarray:
    """The body of both views, bool (h, w)."""
    return np.asarray(ndi.binary_fill_holes(ndi.binary_closing(prepared.image > 4, iterations=2)))


def measures(saliency: np.ndarray, truth: Truth, *, threshold: float = math.nan) -> dict[str, float]:
    """Measure one map of a scan that has visible lesions.

    Args:
        saliency: (h, w), 0 and above.
        truth: What is known of the scan.
        threshold: Share of the map's maximum above which a pixel is marked, for `dice` and `iou`; from tuning scans.

    Returns:
        `MEASURES` and `SHARES`: whether the highest pixel lies in a lesion (pointing game, Zhang et al., ECCV 2016);
        the share of the map's sum inside lesions (energy; Wang et al., Score-CAM, 2020), what an even map would
        give (`area`), and their ratio; average precision of the pixels; Dice and IoU; the share of the sum in
        each place and outside the body. An empty map points nowhere: all 0.
    """
    inside, valid = truth.lesions > 0, ~truth.ignored
    values = np.where(valid, saliency, 0.0).astype(np.float64)
    total, area = values.sum(), inside.sum() / valid.sum()
    share = {name: values[truth.places == n].sum() for n, name in enumerate(SHARES[:-1], start=1)}
    share["outside_body"] = values[~truth.body].sum()
    energy = values[inside].sum() / total if total > 0 else 0.0
    marked = (values >= threshold * values.max()) & (values > 0)
    both, either = (marked & inside).sum(), (marked | inside).sum()
    return {
        "pointing": float(total > 0 and inside.flat[int(values.argmax())]),
        "energy": float(energy),
        "area": float(area),
        "ratio": float(energy / area),
        "auprc": float(average_precision_score(inside[valid], values[valid])) if total > 0 else float(area),
        "dice": float(2 * both / (marked.sum() + inside.sum())) if threshold == threshold else math.nan,
        "iou": float(both / either) if threshold == threshold else math.nan,
        **{name: float(value / total) if total > 0 else 0.0 for name, value in share.items()},
    }


def best_threshold(maps: Sequence[np.ndarray], truths: Sequence[Truth]) -> float:
    """The share of a map's maximum with the highest mean Dice; give it tuning scans only. NaN without any."""
    grid = np.round(np.arange(0.05, 0.96, 0.05), 2)
    if not maps:
        return math.nan
    dice = [[measures(m, t, threshold=cut)["dice"] for m, t in zip(maps, truths, strict=True)] for cut in grid]
    return float(grid[int(np.mean(dice, axis=1).argmax())])


# ------------------------------------------------------------------------------------------------- foci
def foci(saliency: np.ndarray, truth: Truth, *, scale: float = 1.0) -> pd.DataFrame:
    """The foci of a map: its local maxima, one row each, strongest first.

    Args:
        saliency: (h, w), 0 and above.
        truth: What is known of the scan.
        scale: The map's maximum before it was scaled to 1, so that foci of different scans compare.

    Returns:
        `strength`, `lesion` (the visible lesion that it lies in or beside, 0 for none). Foci in lesions that cannot be
        seen are left out.
    """
    highest = (saliency == ndi.maximum_filter(saliency, PEAK_PIXELS)) & (saliency > 0)
    rows, columns = np.nonzero(highest)
    size = 2 * REACH_PIXELS + 1
    lesion = ndi.maximum_filter(truth.lesions, size)[rows, columns]
    kept = (lesion > 0) | ~ndi.maximum_filter(truth.ignored, size)[rows, columns]
    table = pd.DataFrame({"strength": scale * saliency[rows, columns], "lesion": lesion})[kept]
    return table.sort_values("strength", ascending=False, ignore_index=True)


def lesion_marks(foci: pd.DataFrame, truth: Truth) -> pd.DataFrame:
    """What a map's foci say of each visible lesion of one scan, and where they mark none.

    Args:
        foci: From :func:`foci`.
        truth: What is known of the scan.

    Returns:
        `strength, lesion`: each visible lesion once, with its strongest focus (-inf where none marks it), then each
        false focus with lesion 0, strongest first.
    """
    there = pd.Index(np.unique(truth.lesions[truth.lesions > 0]).astype(int), name="lesion")
    hits = foci[foci["lesion"] > 0].groupby("lesion")["strength"].max().reindex(there, fill_value=-math.inf)
    return pd.concat([hits.reset_index(), foci[foci["lesion"] == 0]], ignore_index=True)[["strength", "lesion"]]


def froc_table(marks: pd.DataFrame) -> pd.DataFrame:
    """Share of lesions found against false foci a scan (free-response ROC; Bunch et al., 1978).

    Args:
        marks: `map, scan_id, strength, lesion` (:func:`lesion_marks`) of all maps; a scan of any map counts for all.

    Returns:
        `map, false_foci` (a scan, `FALSE_FOCI`), `sensitivity` (of all visible lesions), `lesions`, `scans`.
    """
    rows, scans = [], marks["scan_id"].nunique()
    for name, mine in marks.groupby("map", sort=False):
        false = np.sort(mine.loc[mine["lesion"] == 0, "strength"].to_numpy(float))[::-1]
        hits = mine.loc[mine["lesion"] > 0, "strength"].to_numpy(float)
        for rate in FALSE_FOCI:
            allowed = math.floor(rate * scans)
            cut = false[allowed] if allowed < len(false) else -math.inf
            rows.append((name, rate, (hits > cut).mean() if len(hits) else math.nan, len(hits), scans))
    return pd.DataFrame(rows, columns=["map", "false_foci", "sensitivity", "lesions", "scans"])


# ------------------------------------------------------------------------------------------- references
def reference_maps(prepared: Prepared, truth: Truth, *, contrast: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Maps that know nothing of the model, to be beaten: what a reader has without it.

    Args:
        prepared: The scan's image.
        truth: What is known of the scan (its body).
        contrast: How much each pixel of the image stands out (`saliency.contrast`), (h, w).
        seed: Of the random map.

    Returns:
        `random` (smooth noise within the body), `body` (even), `counts` (the image itself), `contrast`.
    """
    noise = ndi.gaussian_filter(np.random.default_rng(seed).random(prepared.image.shape), 3)
    counts = prepared.image.astype(np.float64)
    return {
        "random": np.where(truth.body, noise - noise.min(), 0.0),
        "body": truth.body.astype(np.float64),
        "counts": counts,
        "contrast": np.asarray(contrast, np.float64),
    }


# ---------------------------------------------------------------------------------------------- summary
def summary_table(
    scores: pd.DataFrame, patients: pd.Series, *, by: str = "", seed: int = 0, n_boot: int = N_BOOT
) -> pd.DataFrame:
    """Mean of each measure per map with a 95 % interval by patient bootstrap.

    Args:
        scores: A row per scan and map: `scan_id`, `map`, `MEASURES`, `SHARES`.
        patients: Patient of each scan, indexed by scan_id.
        by: A further column to group by, such as the band of visible lesions.
        seed: Seed of the bootstrap; the same resamples for every map of the same scans.
        n_boot: Its resamples.

    Returns:
        `map` (and `by`), `measure, estimate, ci_low, ci_high, method, n`.
    """
    keys, rows = ["map", *([by] if by else [])], []
    for key, part in scores.groupby(keys, sort=False, observed=True):
        resamples = PatientBootstrap(
            patients.loc[part["scan_id"]].to_numpy(), np.ones(len(part), int), seed=seed, n_boot=n_boot
        )
        for name in (*MEASURES, *SHARES):
            values = part[name].to_numpy(dtype=float)
            if np.isfinite(values).all():
                found = resamples.estimate(_mean_of(values))
                if found.ci_low == found.ci_high and name == "pointing":  # all hits or none: no certainty
                    found = resamples.share(values == 1)
                rows.append(dict(zip(keys, key, strict=True)) | found._asdict() | {"measure": name})
    columns = [*keys, "measure", "estimate", "ci_low", "ci_high", "method", "n"]
    return pd.DataFrame(rows, columns=columns)


def difference_table(
    scores: pd.DataFrame, patients: pd.Series, *, reference: str, seed: int = 0, n_boot: int = N_BOOT
) -> pd.DataFrame:
    """Difference of each map from a reference map on the same scans, with a 95 % interval by patient bootstrap.

    Args:
        scores: As in :func:`summary_table`.
        patients: Patient of each scan, indexed by scan_id.
        reference: The map that the others are compared with, such as `counts`.
        seed: Seed of the bootstrap.
        n_boot: Its resamples.

    Returns:
        `map, reference, measure, estimate` (map less reference), `ci_low, ci_high, method, n`; for pointing, energy,
        ratio and auprc.
    """
    wide = {name: scores.pivot(index="scan_id", columns="map", values=name) for name in MEASURES[:5]}
    ids = wide["pointing"].index
    resamples = PatientBootstrap(patients.loc[ids].to_numpy(), np.ones(len(ids), int), seed=seed, n_boot=n_boot)
    rows = []
    for other in [name for name in dict.fromkeys(scores["map"]) if name != reference]:
        for name in ("pointing", "energy", "ratio", "auprc"):
            values = (wide[name][other] - wide[name][reference]).to_numpy(dtype=float)
            found = resamples.estimate(_mean_of(values))
            rows.append({"map": other, "reference": reference, "measure": name} | found._asdict())
    return pd.DataFrame(rows, columns=["map", "reference", "measure", "estimate", "ci_low", "ci_high", "method", "n"])


def _mean_of(values: np.ndarray) -> Statistic:
    return lambda weights: weighted_ratio(weights, values, np.ones(len(values)))
