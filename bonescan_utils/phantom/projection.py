"""Projection onto the detector: resolution, splatting of points, resampling by matrices."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi

ROWS, COLUMNS, PIXEL_MM = 1024, 256, 2.26
SIGMA_STEP = 0.25  # pixels: points are blurred in groups of equal sigma
FWHM_PER_SIGMA = 2.3548


def sigma_pixels(distance_mm: np.ndarray) -> np.ndarray:
    """Return the system resolution's sigma in pixels at a distance from the detector face.

    Source: FWHM^2 = Ri^2 + Rc^2 with Ri = 3.8 mm and Rc = 1.55 (1 + d / 32) mm, fitted to a LEHR collimator
    (4.1 mm at the face, 7.4 mm at 10 cm, 11.9 mm at 20 cm).
    """
    return np.sqrt(3.8**2 + (1.55 * (1 + distance_mm / 32)) ** 2) / FWHM_PER_SIGMA / PIXEL_MM


def splat(pixel: np.ndarray, weight: np.ndarray, sigma: np.ndarray) -> tuple[int, int, np.ndarray]:
    """Return (row, column, image) of points (n, 2) blurred by their own sigma (n,), in the smallest box.

    Each point is shared by its four neighbouring pixels; sigma is rounded to `SIGMA_STEP`.
    """
    margin = int(np.ceil(3.5 * sigma.max())) + 1
    corner = np.floor(pixel.min(axis=0)).astype(int) - margin
    shape = np.floor(pixel.max(axis=0)).astype(int) + margin + 2 - corner
    image = np.zeros(shape)
    step = np.maximum(np.round(sigma / SIGMA_STEP).astype(int), 1)
    for s in np.unique(step):
        group = step == s
        layer = _bilinear(pixel[group] - corner, weight[group], shape)
        image += ndi.gaussian_filter(layer, s * SIGMA_STEP, mode="constant", truncate=3.5)
    return _clip_to_frame(int(corner[0]), int(corner[1]), image)


def _bilinear(at: np.ndarray, weight: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Return an image of `shape` in which every point is shared by its four neighbours."""
    low = np.floor(at).astype(int)
    part = at - low
    image = np.zeros(int(np.prod(shape)))
    for dr in (0, 1):
        for dc in (0, 1):
            share = abs(1 - dr - part[:, 0]) * abs(1 - dc - part[:, 1]) * weight
            flat = (low[:, 0] + dr) * shape[1] + low[:, 1] + dc
            image += np.bincount(flat, share, minlength=len(image))
    return image.reshape(shape)


def _clip_to_frame(row: int, column: int, image: np.ndarray) -> tuple[int, int, np.ndarray]:
    """Return the part of a box that lies on the detector (hands may fall outside it, as in life)."""
    r0, c0 = min(max(row, 0), ROWS), min(max(column, 0), COLUMNS)
    r1 = max(min(row + image.shape[0], ROWS), r0)
    c1 = max(min(column + image.shape[1], COLUMNS), c0)
    return r0, c0, image[r0 - row : r1 - row, c0 - column : c1 - column]


def interpolation(at: np.ndarray, n: int) -> np.ndarray:
    """Return the matrix (len(at), n) that linearly interpolates n samples at fractional indices; 0 outside."""
    low = np.floor(at).astype(int)
    part = at - low
    out = np.zeros((len(at), n))
    for index, share in ((low, 1 - part), (low + 1, part)):
        inside = (index >= 0) & (index < n)
        out[np.flatnonzero(inside), index[inside]] += share[inside]
    return out
