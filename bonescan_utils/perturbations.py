"""Perturbations: what may differ between the scans of a study and those of another day, camera or patient.

Those of the acquisition change the counts of a scan before it is prepared for the model. Probes leave the model one
part of its picture: what it can still tell from there, it does not tell from the skeleton. Nothing here is fitted.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage as ndi

from bonescan_utils import landmarks
from bonescan_utils.loading import load_scan
from bonescan_utils.preprocessing import LAYOUTS, Jitter, Prepared, body_mask, jittered, prepare
from bonescan_utils.scan import VIEWS, Scan, ScanError, View

FWHM_PER_SIGMA = float(np.sqrt(8 * np.log(2)))
SOFT_TISSUE = 25.0
"""Percentile of a region's pixels that is soft tissue there, however much of the rest is bone or urine (assumption)."""
CORNER = (0.10, 0.15)
"""Height and width of each text corner as shares of a view's panel; head and feet lie between the corners."""


@dataclass(frozen=True)
class Perturbation:
    """One condition under which scans are scored.

    Attributes:
        name: `UNPERTURBED`, or a key of `ACQUISITION`, `MISSING` or `PROBES`.
        level: How strong, in the unit of `CURVES`; None for a perturbation without levels.
    """

    name: str
    level: float | None = None

    def __str__(self) -> str:
        return self.name if self.level is None else f"{self.name} {self.level:g}"


class Curve(NamedTuple):
    """A perturbation with levels: its axis text, unit, levels, and the level at which nothing is changed."""

    text: str
    unit: str
    levels: tuple[float, ...]
    unchanged: float


UNPERTURBED = "unperturbed"
CURVES: Mapping[str, Curve] = {
    "counts": Curve("Counts kept", "%", (75, 50, 25, 10), 100),
    "blur": Curve("Blur, FWHM", "mm", (5, 10, 15, 20), 0),
    "rotation": Curve("Rotation", "\N{DEGREE SIGN}", (-10, -5, 5, 10), 0),
}
"""Counts thinned as in a shorter acquisition; a Gaussian blur on top of the camera's own; a patient lying askew."""


def perturb(scan: Scan, perturbation: Perturbation, *, seed: int = 0) -> Scan:
    """Return a scan as another acquisition would have given it.

    Args:
        scan: One or two views in counts.
        perturbation: Unperturbed, of the acquisition, or a missing view.
        seed: Seed of what is random; each scan, level and view has draws of its own.

    Raises:
        ScanError: The scan cannot be changed so: it lacks the view, shows no body, or its pixel size is unknown.
        ValueError: The perturbation is none of these, or its level is impossible.
    """
    name = perturbation.name
    if name == UNPERTURBED:
        return scan
    if name in MISSING:
        return _without(scan, MISSING[name])
    if name not in ACQUISITION:
        raise ValueError(f"no perturbation of the counts is called {name!r}; expected {', '.join(ACQUISITION)}")
    draw = zlib.crc32(f"{seed} {scan.scan_id} {perturbation}".encode())
    changed = {v.name: ACQUISITION[name](v, perturbation.level or 0.0, draw) for v in scan.views}
    return replace(scan, **changed)  # type: ignore[arg-type]


def perturbed_image(
    scan: Scan, perturbation: Perturbation, *, layout: str, size: tuple[int, int], seed: int = 0
) -> np.ndarray:
    """Return the model's image, uint8 (h, w), of a perturbed scan.

    Args:
        scan: One or two views in counts.
        perturbation: Any.
        layout: A key of `preprocessing.LAYOUTS`.
        size: (height, width) of the model's image.
        seed: As in `perturb`.

    Raises:
        ScanError: The scan cannot be changed so, or nothing is left to show.
        ValueError: There is no such perturbation.
    """
    if perturbation.name in PROBES:
        prepared = prepare(scan, layout=layout, size=size)
        kept = PROBES[perturbation.name](scan, prepared)
        return np.where(kept, prepared.image, 0).astype(np.uint8)
    missing = MISSING.get(perturbation.name)
    if missing and missing not in LAYOUTS[layout]:
        raise ScanError("not_shown", f"layout {layout!r} shows no {missing} view")
    return prepare(perturb(scan, perturbation, seed=seed), layout=layout, size=size).image


class Drawn(NamedTuple):
    """The image of a scan under one condition, uint8 (h, w), or the reason why there is none; `key` names the scan."""

    key: str
    scan_id: str
    condition: Perturbation
    image: np.ndarray | None
    reason: str


def draw_perturbed(
    task: tuple[dict[str, Any], str, Sequence[Perturbation]],
    root: Path,
    layout: str,
    size: tuple[int, int],
    seed: int,
) -> list[Drawn]:
    """Read a scan and prepare it under some conditions: one worker's piece of work.

    Args:
        task: Row of the cohort, key of the scan, conditions.
        root: The folder that the row's paths are relative to.
        layout: As in `perturbed_image`; so are the rest.
        size: (height, width).
        seed: Seed of what is random.

    Raises:
        ScanError: The scan cannot be read.
    """
    row, key, conditions = task
    scan, drawn = load_scan(row, root), []
    for condition in conditions:
        image, reason = None, ""
        try:
            image = perturbed_image(scan, condition, layout=layout, size=size, seed=seed)
        except ScanError as error:
            reason = error.reason
        drawn.append(Drawn(key, scan.scan_id, condition, image, reason))
    return drawn


# ---------------------------------------------------------------------------------------- the acquisition
def _thinned(view: View, percent: float, draw: int) -> View:
    """Return each count kept with the same chance, independently: exactly a shorter acquisition."""
    if not 0 < percent <= 100:
        raise ValueError(f"counts kept must be above 0 and up to 100 %, got {percent:g}")
    return jittered(view, Jitter(thinning=percent / 100, seed=draw))


def _blurred(view: View, fwhm_mm: float, _: int) -> View:
    """Return the counts spread out by a Gaussian; the noise is smoothed with them."""
    if fwhm_mm < 0:
        raise ValueError(f"a blur has a width of 0 mm or more, got {fwhm_mm:g}")
    if view.pixel_mm is None:
        raise ScanError("pixel_size", "the pixel size is unknown, so a blur in mm is")
    sigma = [fwhm_mm / FWHM_PER_SIGMA / side for side in view.pixel_mm]
    spread = ndi.gaussian_filter(view.counts.astype(np.float64), sigma, mode="constant")
    return replace(view, counts=np.rint(spread).astype(np.int32))


def _turned(view: View, degrees: float, _: int) -> View:
    """Return the view of a patient turned on the table: from behind, the other way round."""
    return jittered(view, Jitter(degrees=degrees))


def _mirrored(view: View, _: float, __: int) -> View:
    """Return the view of a patient with left and right exchanged."""
    return jittered(view, Jitter(flip=True))


def _masker(region: Callable[[View], np.ndarray]) -> Callable[[View, float, int], View]:
    """Return what lowers a region to its own soft tissue: nothing stands out there, and no hole is seen."""

    def masked(view: View, _: float, __: int) -> View:
        inside = region(view)
        tissue = view.counts[inside & body_mask(view.counts)]
        if not tissue.size:  # arms outside the picture: nothing to mask
            return view
        level = int(np.percentile(tissue, SOFT_TISSUE))
        return replace(view, counts=np.where(inside, np.minimum(view.counts, level), view.counts).astype(np.int32))

    return masked


ACQUISITION: Mapping[str, Callable[[View, float, int], View]] = {
    "counts": _thinned,
    "blur": _blurred,
    "rotation": _turned,
    "flip": _mirrored,
    "bladder masked": _masker(landmarks.bladder),
    "injection sites masked": _masker(landmarks.injection_sites),
}
"""Name -> what makes another view of (view, level, seed)."""

MISSING: Mapping[str, str] = {f"{view} missing": view for view in reversed(VIEWS)}
"""Name -> the view that is not there."""


def _without(scan: Scan, name: str) -> Scan:
    """Return the scan without one view."""
    if getattr(scan, name) is None:
        raise ScanError("view_missing", f"the scan has no {name} view that could be missing")
    return replace(scan, **{name: None})  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------- probes
def _border(scan: Scan, prepared: Prepared) -> np.ndarray:
    return _on_model(scan, prepared, landmarks.background)


def _bladder(scan: Scan, prepared: Prepared) -> np.ndarray:
    return _on_model(scan, prepared, landmarks.bladder)


def _corners(_: Scan, prepared: Prepared) -> np.ndarray:
    """Return the four corners of each view's panel, where systems write their text."""
    kept = np.zeros(prepared.image.shape, bool)
    for place in prepared.placements.values():
        top, left, height, width = place.panel
        rows, columns = max(1, round(CORNER[0] * height)), max(1, round(CORNER[1] * width))
        panel = kept[top : top + height, left : left + width]
        for part in (panel[:rows], panel[height - rows :]):
            part[:, :columns] = part[:, width - columns :] = True
    return kept


def _on_model(scan: Scan, prepared: Prepared, region: Callable[[View], np.ndarray]) -> np.ndarray:
    """Return a region of the views shown, bool (h, w), on the model's image."""
    shape = (prepared.image.shape[0], prepared.image.shape[1])
    parts = [
        prepared.placements[view.name].to_model_space(region(view), shape)
        for view in scan.views
        if view.name in prepared.placements
    ]
    return np.logical_or.reduce(parts)


PROBES: Mapping[str, Callable[[Scan, Prepared], np.ndarray]] = {
    "only border": _border,
    "only text corners": _corners,
    "only bladder region": _bladder,
}
"""Name -> what the model still sees, bool (h, w); all else is black."""

PERTURBATIONS: tuple[Perturbation, ...] = (
    Perturbation(UNPERTURBED),
    *(Perturbation(name, level) for name, curve in CURVES.items() for level in curve.levels),
    *(Perturbation(name) for name in ("flip", *MISSING, "bladder masked", "injection sites masked", *PROBES)),
)
"""The conditions of the study, in the order of its table; the first is the one that the others are compared with."""
