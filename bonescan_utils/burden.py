"""Burden: how many salient foci a scan has, and how large they are, by region: an exploratory proxy.

It is made of saliency maps, without any truth of lesions. It is not the Bone Scan Index, which is measured on
segmented uptake as a share of the skeleton's mass; nothing here has been validated on patients. No TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage as ndi

from bonescan_utils.bootstrap import N_BOOT, PatientBootstrap
from bonescan_utils.landmarks import frame_of
from bonescan_utils.lesions import visible_lesions
from bonescan_utils.scan import Scan, View

if TYPE_CHECKING:
    from bonescan_utils.explanation import Explained

PROXY_NOTE = "Exploratory proxy from saliency maps; not the Bone Scan Index"
ALL_REGIONS, ELSEWHERE = "all", "elsewhere"
FALSE_FOCI = 0.5
"""Foci per tuning scan without metastasis that the level of a focus allows (assumption)."""

LEVELS = np.geomspace(0.01, 1, 25)
"""Levels tried, as shares of the highest value of all tuning maps."""

TABLE = ["scan_id", "region", "foci", "area_cm2"]
PROXIES, TRUTHS = ("foci", "area_cm2"), ("visible_lesions", "lesion_area_cm2")


class Box(NamedTuple):
    """A region: its name, rows below the top of the head, and distance from the midline, both in body heights."""

    name: str
    down: tuple[float, float]
    across: tuple[float, float]


REGIONS = (
    Box("head", (-0.05, 0.1), (0, 0.08)),
    Box("cervical spine", (0.1, 0.142), (0, 0.04)),
    Box("thoracic spine and sternum", (0.142, 0.297), (0, 0.021)),
    Box("ribs and shoulder girdle", (0.142, 0.315), (0.021, 0.082)),
    Box("lumbar spine", (0.297, 0.395), (0, 0.03)),
    Box("pelvis and hips", (0.395, 0.51), (0, 0.077)),
    Box("arms", (0.13, 0.6), (0.077, 0.5)),
    Box("legs", (0.51, 1.05), (0, 0.3)),
)
"""Boxes of the body's own frame (`landmarks.frame_of`), the first that holds a focus counts; what lies in none is
`elsewhere`. The borders lie between the projections of bones of phantoms of the partitions train and tuning
(assumption)."""


class BurdenError(ValueError):
    """Maps that no burden proxy can be made of; one readable line."""


def choose_level(explained: Sequence[Explained], y_true: Sequence[int]) -> float:
    """Choose the map's value, in logits, from which on a place belongs to a focus.

    The lowest of `LEVELS` at which scans without metastasis have at most `FALSE_FOCI` foci on average.

    Args:
        explained: Tuning scans, of either label; never those that are measured.
        y_true: Their labels, 0 or 1.

    Raises:
        BurdenError: No scan without metastasis, or every map is empty.
    """
    negative = [one for one, label in zip(explained, y_true, strict=True) if label == 0]
    top = max((one.raw_max for one in explained), default=0.0)
    if not negative or top <= 0:
        reason = "no scan without metastasis" if not negative else "only empty maps"
        raise BurdenError(f"the level of a focus is chosen on tuning scans; these {len(explained)} have {reason}")
    for level in LEVELS * top:
        table = burden_table(negative, float(level))
        if table.loc[table["region"] == ALL_REGIONS, "foci"].mean() <= FALSE_FOCI:
            break
    return float(level)


def burden_table(explained: Sequence[Explained], level: float) -> pd.DataFrame:
    """Count and measure the salient foci of each scan by region.

    A focus is a connected part of a view's map at or above the level; it belongs to the region of its centre. Of two
    views that show a region the one with more foci, and the one with the larger area, count: a lesion is not counted
    twice, but two at different depths may be.

    Args:
        explained: Scans with their maps.
        level: From `choose_level`, in logits.

    Returns:
        One row per scan and region, with 0 where there is none, and region `all`, their sum: scan_id, region, foci,
        area_cm2 (NaN where the pixel size is unknown).
    """
    tables = [_of_scan(one, level) for one in explained]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=TABLE)


def true_burden(
    scans: Sequence[Scan], truth: Mapping[str, Mapping[str, np.ndarray] | None], lesions: pd.DataFrame | None
) -> pd.DataFrame:
    """Return the true burden of phantoms.

    Args:
        scans: The scans.
        truth: Lesion masks by scan and view, on counts pixels; a scan without truth is left out.
        lesions: Findings, as `phantom.read_lesions` returns them; None without truth: then no scan has any.

    Returns:
        scan_id, visible_lesions, lesion_area_cm2 (of the view where the lesions cover more).
    """
    rows = []
    for scan in scans:
        masks = truth.get(scan.scan_id)
        if masks is not None:
            areas = [float(masks[view.name].sum()) * _pixel_cm2(view) for view in scan.views]
            rows.append((scan.scan_id, max(areas)))
    table = pd.DataFrame(rows, columns=["scan_id", "lesion_area_cm2"])
    if lesions is None or table.empty:
        return table.head(0).assign(visible_lesions=0)[["scan_id", *TRUTHS]]
    counts = visible_lesions(lesions, table["scan_id"])
    return table.assign(visible_lesions=counts.to_numpy())[["scan_id", *TRUTHS]]


def burden_correlation(
    table: pd.DataFrame, true: pd.DataFrame, patients: pd.Series, *, seed: int = 0, n_boot: int = N_BOOT
) -> pd.DataFrame:
    """Correlate the proxy of whole scans with their true burden (Spearman, patient bootstrap).

    Args:
        table: From `burden_table`.
        true: From `true_burden`.
        patients: patient_id by scan_id.
        seed: Seed of the bootstrap.
        n_boot: Its resamples.

    Returns:
        scans (`all`, `with visible lesions`: without the help of those that have none), proxy, truth, estimate,
        ci_low, ci_high, n. NaN where a value is the same in all scans.
    """
    whole = table[table["region"] == ALL_REGIONS].merge(true, on="scan_id", validate="one_to_one")
    rows = []
    for scans, part in (("all", whole), ("with visible lesions", whole[whole["visible_lesions"] > 0])):
        for proxy, against in ((proxy, against) for proxy in PROXIES for against in TRUTHS):
            known = part.dropna(subset=[proxy, against])
            estimate = _rank_correlation(known, proxy, against, patients, seed=seed, n_boot=n_boot)
            rows.append((scans, proxy, against, *estimate, len(known)))
    return pd.DataFrame(rows, columns=["scans", "proxy", "truth", "estimate", "ci_low", "ci_high", "n"])


def _rank_correlation(
    part: pd.DataFrame, first: str, second: str, patients: pd.Series, *, seed: int, n_boot: int
) -> tuple[float, float, float]:
    """Return Spearman's rank correlation of two columns with its interval."""
    x, y = (part[name].to_numpy(float) for name in (first, second))
    if len(part) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan"), float("nan"), float("nan")

    ids = patients.loc[part["scan_id"]].to_numpy()
    found = PatientBootstrap(ids, np.zeros(len(ids), int), seed=seed, n_boot=n_boot).estimate(
        lambda weights: _weighted_spearman(weights, x, y)
    )
    return found.estimate, found.ci_low, found.ci_high


def _weighted_spearman(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation per resample `(resamples,)`: Pearson's of midranks; NaN of a constant."""
    total = weights.sum(axis=1, keepdims=True)
    ranks = [_midranks(weights, values) for values in (x, y)]
    first, second = (own - (weights * own).sum(axis=1, keepdims=True) / total for own in ranks)
    spread = np.sqrt((weights * first**2).sum(axis=1) * (weights * second**2).sum(axis=1))
    shared = (weights * first * second).sum(axis=1)
    return np.divide(shared, spread, out=np.full(len(weights), np.nan), where=spread > 0)


def _midranks(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the mean rank of each value among the weighted ones, float64 (resamples, n)."""
    levels, level = np.unique(values, return_inverse=True)
    counts = weights @ (level[:, None] == np.arange(len(levels)))
    return np.asarray((np.cumsum(counts, axis=1) - counts / 2)[:, level])


def _of_scan(one: Explained, level: float) -> pd.DataFrame:
    """Return the rows of one scan."""
    names = [box.name for box in REGIONS] + [ELSEWHERE]
    maps = one.by_view()
    views = [view for view in one.scan.views if view.name in maps]
    foci, area = np.zeros((2, len(views), len(names)))
    for v, view in enumerate(views):
        for name, pixels in _foci(view, maps[view.name] * one.raw_max, level):
            foci[v, names.index(name)] += 1
            area[v, names.index(name)] += pixels * _pixel_cm2(view)
    counted, measured = foci.max(axis=0).astype(int), area.max(axis=0)
    rows = pd.DataFrame({"region": names, "foci": counted, "area_cm2": measured})
    rows.loc[len(rows)] = [ALL_REGIONS, counted.sum(), measured.sum()]
    return rows.assign(scan_id=one.scan.scan_id)[TABLE]


def _foci(view: View, raw: np.ndarray, level: float) -> list[tuple[str, int]]:
    """Return region and size in pixels of each focus of a view's map, in logits (rows, columns)."""
    parts, n = ndi.label(raw >= level, structure=np.ones((3, 3)))
    if not n:
        return []
    centres = np.array(ndi.center_of_mass(raw, parts, range(1, n + 1))).round().astype(int)
    sizes = np.bincount(parts.ravel())[1:]
    return [(region_of(view, row, column), int(size)) for (row, column), size in zip(centres, sizes, strict=True)]


def region_of(view: View, row: int, column: int) -> str:
    """Return the first of `REGIONS` that holds a pixel of a view; `elsewhere` if none does.

    Raises:
        ScanError: The view shows no body.
    """
    rows, columns = frame_of(view).places((view.counts.shape[0], view.counts.shape[1]))
    down, across = float(rows[row, 0]), abs(float(columns[0, column]))
    for box in REGIONS:
        if box.down[0] <= down < box.down[1] and box.across[0] <= across < box.across[1]:
            return box.name
    return ELSEWHERE


def _pixel_cm2(view: View) -> float:
    """Return the area of a pixel in square centimetres; NaN where it is unknown."""
    return view.pixel_mm[0] * view.pixel_mm[1] / 100 if view.pixel_mm else float("nan")
