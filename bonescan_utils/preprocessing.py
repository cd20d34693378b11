"""Scan -> one model-ready image: both views, body-cropped, aspect-true, normalised for the count level.

Nothing here is fitted to a cohort: every scan is prepared from its own counts, so no constant can leak from the test
partition. Where a pixel of the model's image lies on the detector is kept (`Placement`), so that a saliency map can be
carried back to counts space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy import ndimage as ndi

from bonescan_utils.scan import VIEWS, Scan, ScanError, View

LAYOUTS: Mapping[str, tuple[str, ...]] = {
    "side_by_side": ("anterior", "posterior"),
    "anterior": ("anterior",),
    "posterior": ("posterior",),
    "squash224": ("anterior", "posterior"),
}
"""Layout -> the views it shows, left to right; `squash224` ignores the aspect, for a literal comparison."""

DEFAULT_SIZE = (320, 160)
"""(height, width) of the model's image: about as many pixels as 224 x 224, without the squash."""

BODY_THRESHOLD = 0.12
"""Share of the smoothed image's 95th percentile that counts as body (assumption)."""

WINDOW_PERCENTILE, WINDOW_FACTOR = 90.0, 4.0
"""White (255) is this many times this percentile of the body's pixels. The percentile lies in ordinary bone, so a full
bladder or an injection site does not darken the rest, and the factor leaves room above it for hot lesions
(assumption; set on a cohort of another seed, see docs/levers.md)."""


@dataclass(frozen=True)
class Jitter:
    """One augmentation, the same for both views.

    Attributes:
        thinning: Share of the counts kept, 0-1 (binomial thinning: a shorter acquisition).
        degrees: Rotation.
        scale: Factor on the body's size.
        shift: (rows, columns) as shares of the crop box.
        flip: Mirror both views left to right.
        seed: Seed of the thinning.
    """

    thinning: float = 1.0
    degrees: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    flip: bool = False
    seed: int = 0


def draw_jitter(rng: np.random.Generator) -> Jitter:
    """Draw one augmentation (ranges are assumptions)."""
    return Jitter(
        thinning=float(rng.uniform(0.6, 1.0)),
        degrees=float(rng.uniform(-4, 4)),
        scale=float(rng.uniform(0.94, 1.06)),
        shift=(float(rng.uniform(-0.03, 0.03)), float(rng.uniform(-0.03, 0.03))),
        flip=bool(rng.random() < 0.5),
        seed=int(rng.integers(2**31)),
    )


@dataclass(frozen=True)
class Placement:
    """Where a view's crop box lies in the model's image.

    Attributes:
        shape: (rows, columns) of the view's counts.
        box: (top, left, bottom, right) of the crop in counts pixels; may reach past the detector's edge.
        panel: (top, left, height, width) of the crop in the model's image.
    """

    shape: tuple[int, int]
    box: tuple[float, float, float, float]
    panel: tuple[int, int, int, int]

    def to_counts_space(self, model_map: np.ndarray) -> np.ndarray:
        """Return a map of the model's image, (h, w), on the view's counts pixels, float32; 0 outside."""
        top, left, height, width = self.panel
        patch = np.asarray(model_map, np.float32)[top : top + height, left : left + width]
        rows = (np.arange(self.shape[0]) + 0.5 - self.box[0]) / (self.box[2] - self.box[0]) * height - 0.5
        columns = (np.arange(self.shape[1]) + 0.5 - self.box[1]) / (self.box[3] - self.box[1]) * width - 0.5
        grid = np.meshgrid(rows, columns, indexing="ij")
        out = ndi.map_coordinates(patch, grid, order=1, mode="nearest")
        inside = (grid[0] > -0.5) & (grid[0] < height - 0.5) & (grid[1] > -0.5) & (grid[1] < width - 0.5)
        return np.where(inside, out, 0).astype(np.float32)

    def to_model_space(self, counts_mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return a bool mask on counts pixels as a bool mask (h, w) on the model's image, empty off the panel."""
        top, left, height, width = self.panel
        out = np.zeros(size, bool)
        share = _resample(counts_mask.astype(np.float32), self.box, (height, width))
        out[top : top + height, left : left + width] = share >= 0.5
        return out

    def labels_to_model_space(self, labels: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
        """Return labels on counts pixels, uint8, on the model's image (h, w): that of the nearest pixel; 0 off it."""
        top, left, height, width = self.panel
        rows = self.box[0] + (np.arange(height) + 0.5) / height * (self.box[2] - self.box[0])
        columns = self.box[1] + (np.arange(width) + 0.5) / width * (self.box[3] - self.box[1])
        at = np.ix_(np.floor(rows).astype(int), np.floor(columns).astype(int))
        inside = (at[0] >= 0) & (at[0] < self.shape[0]) & (at[1] >= 0) & (at[1] < self.shape[1])
        nearest = labels[np.clip(at[0], 0, self.shape[0] - 1), np.clip(at[1], 0, self.shape[1] - 1)]
        out = np.zeros(size, np.uint8)
        out[top : top + height, left : left + width] = np.where(inside, nearest, 0)
        return out


@dataclass(frozen=True)
class Prepared:
    """A model-ready image.

    Attributes:
        image: uint8 (h, w), 0-255, hot = bright; a missing view's half is black.
        placements: Where each present view lies in it.
    """

    image: np.ndarray
    placements: dict[str, Placement]


def prepare(
    scan: Scan,
    *,
    layout: str = "side_by_side",
    size: tuple[int, int] = DEFAULT_SIZE,
    jitter: Jitter | None = None,
) -> Prepared:
    """Return the model's image of a scan.

    Args:
        scan: One or two views in counts.
        layout: A key of `LAYOUTS`; anterior is always on the left.
        size: (height, width) in pixels.
        jitter: An augmentation, or None.

    Raises:
        ScanError: The layout shows no view that the scan has, or a view shows no body.
        ValueError: The layout is unknown.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {tuple(LAYOUTS)}, got {layout!r}")
    shown = [view for view in scan.views if view.name in LAYOUTS[layout]]
    if not shown:
        raise ScanError("view_missing", f"scan {scan.scan_id} has no view that layout {layout!r} shows")
    if jitter is not None:
        shown = [jittered(view, jitter) for view in shown]
    width = size[1] // len(LAYOUTS[layout])
    image, placements = np.zeros(size, np.uint8), {}
    for view in shown:
        left = LAYOUTS[layout].index(view.name) * width
        crop = _crop_box(view, jitter)
        inner = (size[0], width) if layout == "squash224" else _fit(crop, view.pixel_mm, (size[0], width))
        top, offset = (size[0] - inner[0]) // 2, (width - inner[1]) // 2
        panel = (top, left + offset, *inner)
        image[top : top + inner[0], left + offset : left + offset + inner[1]] = _window(
            _resample(view.counts, crop, inner)
        )
        placements[view.name] = Placement((view.counts.shape[0], view.counts.shape[1]), crop, panel)
    return Prepared(image, placements)


def body_mask(counts: np.ndarray) -> np.ndarray:
    """Return the body's pixels, bool (rows, columns), to a 256th of its height: the largest part that stands out.

    Raises:
        ScanError: Nothing stands out from the background.
    """
    step = max(1, counts.shape[0] // 256)  # 4 x 4 pixels of a 1024-row matrix: noise is averaged out
    rows, columns = (-n % step for n in counts.shape)
    binned = np.pad(counts.astype(np.float32), ((0, rows), (0, columns)))
    binned = binned.reshape(binned.shape[0] // step, step, -1, step).mean(axis=(1, 3))
    smooth = ndi.gaussian_filter(binned, 1.0)
    level = np.percentile(smooth, 95) or smooth.max()
    parts, n = ndi.label(smooth > BODY_THRESHOLD * level)
    if not n or level <= 0:
        raise ScanError("no_body", "no body found: no part of the view stands out from the background")
    largest = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    return np.repeat(np.repeat(largest, step, axis=0), step, axis=1)[: counts.shape[0], : counts.shape[1]]


def _crop_box(view: View, jitter: Jitter | None) -> tuple[float, float, float, float]:
    """Return (top, left, bottom, right) around the body; columns leave out 0.5 % of it a side (finger tips)."""
    mask = body_mask(view.counts)
    rows = np.flatnonzero(mask.any(axis=1))
    share = np.cumsum(mask.sum(axis=0)) / mask.sum()
    left, right = np.searchsorted(share, [0.005, 0.995])
    top, bottom = float(rows[0]), float(rows[-1] + 1)
    box = np.array([top, float(left), bottom, float(right + 1)])
    if jitter is not None:
        middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
        middle = middle + np.array(jitter.shift) * 2 * half
        box = np.concatenate([middle - half / jitter.scale, middle + half / jitter.scale])
    return float(box[0]), float(box[1]), float(box[2]), float(box[3])


def _fit(
    box: tuple[float, float, float, float], pixel_mm: tuple[float, float] | None, room: tuple[int, int]
) -> tuple[int, int]:
    """Return (height, width) of the largest aspect-true picture of a box in `room`."""
    row_mm, column_mm = pixel_mm or (1.0, 1.0)
    height, width = (box[2] - box[0]) * row_mm, (box[3] - box[1]) * column_mm
    scale = min(room[0] / height, room[1] / width)
    return max(1, min(room[0], round(height * scale))), max(1, min(room[1], round(width * scale)))


def _resample(counts: np.ndarray, box: tuple[float, float, float, float], shape: tuple[int, int]) -> np.ndarray:
    """Return the box of an image averaged to `shape`, float32; past the edge there are no counts."""
    pad = int(np.ceil(max(0, -box[0], -box[1], box[2] - counts.shape[0], box[3] - counts.shape[1])))
    padded = np.pad(counts.astype(np.float32), pad)
    top, left, bottom, right = (edge + pad for edge in box)
    picture = Image.fromarray(padded).resize((shape[1], shape[0]), Image.Resampling.BOX, box=(left, top, right, bottom))
    return np.asarray(picture)


def _window(panel: np.ndarray) -> np.ndarray:
    """Return counts as 0-255: white is `WINDOW_FACTOR` times the `WINDOW_PERCENTILE` of the body's pixels."""
    body = panel[panel > BODY_THRESHOLD * np.percentile(panel, 95)]
    level = WINDOW_FACTOR * float(np.percentile(body, WINDOW_PERCENTILE)) if body.size else 1.0
    return np.round(np.clip(panel / max(level, 1e-6), 0, 1) * 255).astype(np.uint8)


def jittered(view: View, jitter: Jitter) -> View:
    """Return the view thinned, turned and mirrored as an augmentation says; its scale and shift are for the crop box.

    Thinning is exactly binomial. A turn interpolates between pixels, which smooths the noise a little.
    """
    rng = np.random.default_rng([jitter.seed, VIEWS.index(view.name)])
    counts = rng.binomial(view.counts, jitter.thinning) if jitter.thinning < 1 else view.counts
    # A turn seen from behind is the opposite turn, so that both views show one turned patient.
    degrees = jitter.degrees if view.name == "anterior" else -jitter.degrees
    picture = Image.fromarray(counts.astype(np.float32)).rotate(degrees, Image.Resampling.BILINEAR)
    turned = np.rint(np.asarray(picture)).astype(np.int32)
    return replace(view, counts=turned[:, ::-1] if jitter.flip else turned)
