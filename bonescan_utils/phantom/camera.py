"""The camera: expected counts of one patient in two views, then a Poisson draw.

Expected counts are rounded to 1 / 64 count before the draw: differences between processors in the last digits then
vanish, and the same seed gives the same counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi
from scipy.interpolate import CubicSpline

from bonescan_utils.phantom.body import ORGANS
from bonescan_utils.phantom.findings import Finding
from bonescan_utils.phantom.projection import COLUMNS, PIXEL_MM, ROWS, interpolation, splat
from bonescan_utils.phantom.skeleton import load_skeleton
from bonescan_utils.phantom.template import Template
from bonescan_utils.phantom.uptake import PLACES, Activity, pool_image
from bonescan_utils.scan import VIEWS

QUANTUM = 64
SCATTER_MM = 32.0
BIN = 8
WARP_GRID = (18, 6)


@dataclass(frozen=True)
class Exposure:
    """How one patient was put under the camera.

    Attributes:
        anterior_counts: Counts of the anterior view without lesions and bladder.
        scatter: Scattered photons per unscattered one, 0.20-0.34.
        background: Counts per pixel from the room.
        warp: float64 (2, 1024, 256), where each pixel of the image looks in the template (row, column).
    """

    anterior_counts: float
    scatter: float
    background: float
    warp: np.ndarray

    def rows_showing(self, image: np.ndarray) -> slice:
        """Return the rows that look at the filled rows of `image` (1024, 256); outside them it shows nothing."""
        filled = np.flatnonzero(image.any(axis=1))
        if not filled.size:
            return slice(0, 0)
        reach = (self.warp[0].max(axis=1) > filled[0] - 1) & (self.warp[0].min(axis=1) < filled[-1] + 1)
        rows = np.flatnonzero(reach)
        return slice(int(rows[0]), int(rows[-1]) + 1) if rows.size else slice(0, 0)


def draw_exposure(rng: np.random.Generator) -> Exposure:
    """Draw count level, scatter, room background and the body's own shape and place."""
    counts = float(np.clip(1.65e6 * np.exp(rng.normal(0, 0.22)), 1.0e6, 2.6e6))
    return Exposure(counts, rng.uniform(0.20, 0.34), rng.uniform(0, 0.06), _draw_warp(rng))


def _draw_warp(rng: np.random.Generator) -> np.ndarray:
    """Draw an affine map plus a smooth random field with a standard deviation of three pixels."""
    scale = rng.uniform(0.96, 1.04)
    wide = scale * rng.uniform(0.95, 1.05)
    angle, shift = rng.normal(0, 0.012), rng.normal(0, 1, 2) * [6, 8]
    field = [_ROW_SPLINE @ rng.normal(0, 3, WARP_GRID) @ _COLUMN_SPLINE.T for _ in range(2)]
    row, column = np.ogrid[:ROWS, :COLUMNS]
    row, column = row - ROWS / 2, column - COLUMNS / 2
    rows = (row * np.cos(angle) - column * np.sin(angle)) / scale + ROWS / 2 + shift[0] + field[0]
    columns = (row * np.sin(angle) + column * np.cos(angle)) / wide + COLUMNS / 2 + shift[1] * 0.5 + field[1]
    return np.stack([rows, columns])


_ROW_SPLINE = CubicSpline(np.arange(WARP_GRID[0]), np.eye(WARP_GRID[0]))(np.linspace(0, WARP_GRID[0] - 1, ROWS))
_COLUMN_SPLINE = CubicSpline(np.arange(WARP_GRID[1]), np.eye(WARP_GRID[1]))(np.linspace(0, WARP_GRID[1] - 1, COLUMNS))
_UNBIN_ROWS = interpolation((np.arange(ROWS) - (BIN - 1) / 2) / BIN, ROWS // BIN)
_UNBIN_COLUMNS = interpolation((np.arange(COLUMNS) - (BIN - 1) / 2) / BIN, COLUMNS // BIN)


class Picture:
    """The expected counts of one patient in the template's frame, to which metastases are added one by one.

    Attributes:
        lesions: The metastases added so far.
        visibility: Of each of them, its peak over the background there, (anterior, posterior).
    """

    def __init__(
        self,
        template: Template,
        activity: Activity,
        mimics: list[Finding],
        *,
        anterior_counts: float,
        scatter: float,
    ) -> None:
        self.template, self.activity, self.mimics = template, activity, mimics
        self.anterior_counts, self.scatter = anterior_counts, scatter
        self.lesions: list[Finding] = []
        self.visibility: list[tuple[float, ...]] = []
        normal = [self._normal(v) for v in range(len(VIEWS))]
        self.scale = anterior_counts / (normal[0].sum() * (1 + scatter))
        for v, image in enumerate(normal):
            add(image, pool_image(template, v, activity.bladder))
        self._background = [add_scatter(image * self.scale, scatter) for image in normal]
        self._lesions = [np.zeros((ROWS, COLUMNS)) for _ in VIEWS]
        self._labels = [np.zeros((ROWS, COLUMNS), np.uint8) for _ in VIEWS]
        self._strongest = [np.zeros((ROWS, COLUMNS)) for _ in VIEWS]

    def _normal(self, view: int) -> np.ndarray:
        """Return bone, organs, pools and mimics, without the bladder."""
        template, activity = self.template, self.activity
        image = template.bone_image(view, activity.regions) + np.maximum(template.organ_image(view, activity.organs), 0)
        for pool in activity.pools:
            add(image, pool_image(template, view, pool))
        for mimic in self.mimics:
            add(image, self._project(view, mimic))
        return image

    def _project(self, view: int, finding: Finding) -> tuple[int, int, np.ndarray]:
        """Return (row, column, image) of a finding's extra activity, by the physics of the bone it sits in."""
        skeleton, at = load_skeleton(), finding.points
        uptake = self.activity.regions[skeleton.region[at]] * skeleton.weight[at]
        weight = finding.contrast * finding.share * uptake * self.template.transmission[view][at].astype(float)
        sigma = np.full(len(at), self.template.sigma[view][at].astype(float).mean())
        return splat(self.template.to_pixel(self.template.points_mm[at]), weight, sigma)

    def see(self, finding: Finding) -> tuple[float, ...]:
        """Return a finding's peak over the background at that place, per view; 0 where it is off the detector."""
        out = []
        for v in range(len(VIEWS)):
            row, column, box = self._project(v, finding)
            if not box.size:
                out.append(0.0)
                continue
            r, c = np.unravel_index(box.argmax(), box.shape)
            out.append(float(box.max() * self.scale / self._background[v][row + r, column + c]))
        return tuple(out)

    def add(self, lesion: Finding) -> None:
        """Put a metastasis into both views and into the labels (pixels of at least half its own peak)."""
        self.lesions.append(lesion)
        self.visibility.append(self.see(lesion))
        for v in range(len(VIEWS)):
            row, column, box = self._project(v, lesion)
            add(self._lesions[v], (row, column, box * self.scale))
            if box.size:
                at = np.s_[row : row + box.shape[0], column : column + box.shape[1]]
                mine = (box >= 0.5 * box.max()) & (box > self._strongest[v][at])  # where two meet, the stronger one's
                self._labels[v][at][mine] = len(self.lesions)
                self._strongest[v][at][mine] = box[mine]

    def image(self, view: int) -> np.ndarray:
        """Return the expected counts float64 (1024, 256), scatter included."""
        if not self.lesions:
            return self._background[view]
        return self._background[view] + add_scatter(self._lesions[view], self.scatter)

    def cleared(self) -> Picture:
        """Return the picture of the same patient without the metastases."""
        return Picture(
            self.template, self.activity, self.mimics, anterior_counts=self.anterior_counts, scatter=self.scatter
        )

    def labels(self, view: int) -> np.ndarray:
        """Return which metastasis each pixel belongs to, uint8 (1024, 256): 1 for the first added, 0 for none."""
        return self._labels[view]

    def places(self, view: int) -> np.ndarray:
        """Return what is hot outside bone, uint8 (1024, 256): 1 + index in `PLACES` (half of each pool's peak)."""
        out = np.zeros((ROWS, COLUMNS), np.uint8)
        kidneys = np.where([name.startswith("kidney") for name in ORGANS], self.activity.organs, 0.0)
        organ = self.template.organ_image(view, kidneys)
        if organ.max() > 0:
            out[organ >= 0.5 * organ.max()] = 1 + PLACES.index("kidneys")
        for pool in (*self.activity.pools, self.activity.bladder):
            if pool.place:
                row, column, box = pool_image(self.template, view, pool)
                inside = (box >= 0.5 * box.max(initial=0)) & (box > 0)
                out[row : row + box.shape[0], column : column + box.shape[1]][inside] = 1 + PLACES.index(pool.place)
        return out


def add(image: np.ndarray, part: tuple[int, int, np.ndarray]) -> None:
    """Add a box (row, column, image) in place."""
    row, column, box = part
    image[row : row + box.shape[0], column : column + box.shape[1]] += box


def add_scatter(image: np.ndarray, fraction: float) -> np.ndarray:
    """Return the image plus `fraction` of itself blurred by 32 mm (made on 8 x 8 pixels, where it is as smooth)."""
    binned = image.reshape(ROWS // BIN, BIN, COLUMNS // BIN, BIN).sum(axis=(1, 3)) / BIN**2
    blurred = ndi.gaussian_filter(binned, SCATTER_MM / PIXEL_MM / BIN, mode="constant")
    return image + fraction * (_UNBIN_ROWS @ blurred @ _UNBIN_COLUMNS.T)


def expose(rng: np.random.Generator, image: np.ndarray, exposure: Exposure, *, view: int) -> np.ndarray:
    """Return counts uint16 (1024, 256) as the camera stores them: warped, noisy, the posterior flipped.

    Args:
        rng: The patient's generator.
        image: Expected counts, float64 (1024, 256), in the anterior's sense.
        exposure: Warp and background.
        view: 0 anterior, 1 posterior.
    """
    rows = exposure.rows_showing(image)
    expected = np.full(image.shape, exposure.background)
    expected[rows] += ndi.map_coordinates(image, exposure.warp[:, rows], order=1, mode="constant")
    expected = np.round(expected * QUANTUM) / QUANTUM
    return as_displayed(rng.poisson(expected).clip(0, 65535).astype(np.uint16), view)


def expose_mask(mask: np.ndarray, exposure: Exposure, *, view: int) -> np.ndarray:
    """Return a mask or labels (1024, 256) under the same warp and flip as the counts."""
    rows = exposure.rows_showing(mask)
    warped = np.zeros_like(mask)
    at = np.rint(exposure.warp[:, rows]).astype(int)
    inside = (at >= 0).all(axis=0) & (at[0] < ROWS) & (at[1] < COLUMNS)
    warped[rows][inside] = mask[at[0][inside], at[1][inside]]
    return as_displayed(warped, view)


def as_displayed(image: np.ndarray, view: int) -> np.ndarray:
    """Return the image as a camera shows the view: the posterior seen from behind."""
    return np.ascontiguousarray(image[:, ::-1]) if VIEWS[view] == "posterior" else image
