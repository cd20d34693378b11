"""Templates: what each region and organ of a posed body looks like to the two detectors, per unit of activity.

A template is a pure function of (pose, habitus); a patient is a weighted sum of its parts. Sixteen are built on first
use (two to three seconds each) and kept in the user's cache folder.

Resolution: FWHM^2 = 3.8^2 + (1.55 (1 + d / 32))^2 mm^2 with d mm to the detector face: an LEHR collimator.
"""

from __future__ import annotations

import hashlib
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
import platformdirs
from scipy import ndimage as ndi
from scipy import sparse

from bonescan_utils.files import write_atomic
from bonescan_utils.phantom.body import GRID_MM, ORGANS, Body, build_body
from bonescan_utils.phantom.projection import COLUMNS, PIXEL_MM, ROWS, interpolation, sigma_pixels, splat
from bonescan_utils.phantom.skeleton import load_skeleton
from bonescan_utils.scan import VIEWS
from bonescan_utils.temporaries import remove_stale

N_TEMPLATES = 16
TEMPLATE_SEED = 1_000_003
COARSE = 2  # transmission is kept at every second grid point


@dataclass(frozen=True)
class Template:
    """One posed body seen by both detectors, in the anterior's left-right sense (patient left = high column).

    Attributes:
        corner: int16 (view, region, 4): row, column, height, width of each region's box.
        pixels: float16 (n,), the boxes' images one after the other: photons per pixel and unit concentration.
        organs: float32 (view, organ, nz, nx), the same for the organs, on the body's 5 mm grid.
        grid: float16 (view, x, y, z), transmission to each detector, every `COARSE`-th grid point.
        origin_mm: float64 (3,), position of the grid's first point.
        face_mm: float64 (view,), y of the detector faces.
        head: float64 (2,), row of the top of the head and its z in mm.
        points_mm: float32 (n, 3), the skeleton's points.
        transmission, sigma: float16 (view, n), of each point; sigma in pixels.
        landmark_names, landmarks_mm: Named places outside bone, (m,) and (m, 3).
    """

    corner: np.ndarray
    pixels: np.ndarray
    organs: np.ndarray
    grid: np.ndarray
    origin_mm: np.ndarray
    face_mm: np.ndarray
    head: np.ndarray
    points_mm: np.ndarray
    transmission: np.ndarray
    sigma: np.ndarray
    landmark_names: np.ndarray
    landmarks_mm: np.ndarray

    @cached_property
    def landmarks(self) -> dict[str, np.ndarray]:
        """Named places: bladder, kidneys, elbows, hands, mouth, ... each (3,) in mm."""
        return {str(name): at for name, at in zip(self.landmark_names, self.landmarks_mm, strict=True)}

    @cached_property
    def boxes(self) -> list[list[tuple[slice, slice, np.ndarray]]]:
        """Per view and region: (rows, columns, float16 image)."""
        ends = np.cumsum(np.prod(self.corner[..., 2:].astype(int), axis=-1)).reshape(self.corner.shape[:2])
        out: list[list[tuple[slice, slice, np.ndarray]]] = [[], []]
        for v, r in np.ndindex(*ends.shape):
            row, column, height, width = (int(n) for n in self.corner[v, r])
            image = self.pixels[ends[v, r] - height * width : ends[v, r]].reshape(height, width)
            out[v].append((slice(row, row + height), slice(column, column + width), image))
        return out

    @cached_property
    def to_rows(self) -> sparse.csr_array:
        """Interpolation from the organs' grid to pixel rows, (1024, nz)."""
        z = self.head[1] - (np.arange(ROWS) - self.head[0]) * PIXEL_MM
        return sparse.csr_array(interpolation((z - self.origin_mm[2]) / GRID_MM, self.organs.shape[2]))

    @cached_property
    def to_columns(self) -> np.ndarray:
        """Interpolation from the organs' grid to pixel columns, float64 (256, nx)."""
        x = (np.arange(COLUMNS) - COLUMNS / 2) * PIXEL_MM
        return interpolation((x - self.origin_mm[0]) / GRID_MM, self.organs.shape[3])

    def to_pixel(self, points: np.ndarray) -> np.ndarray:
        """Return row and column, float64 (n, 2), of points (n, 3) in mm."""
        row = self.head[0] + (self.head[1] - points[:, 2]) / PIXEL_MM
        return np.stack([row, COLUMNS / 2 + points[:, 0] / PIXEL_MM], axis=1).astype(float)

    def sigma_at(self, view: int, points: np.ndarray) -> np.ndarray:
        """Return the resolution's sigma in pixels (n,) at points (n, 3) in mm."""
        return sigma_pixels(abs(points[:, 1] - self.face_mm[view]))

    def transmission_at(self, view: int, points: np.ndarray) -> np.ndarray:
        """Return the fraction of photons (n,) that reach a view's detector from points (n, 3) in mm."""
        index = np.round((points - self.origin_mm) / (GRID_MM * COARSE)).astype(int)
        index = np.clip(index, 0, np.array(self.grid.shape[1:]) - 1)
        return self.grid[view][tuple(index.T)].astype(float)

    def bone_image(self, view: int, weights: np.ndarray) -> np.ndarray:
        """Return the skeleton's image (1024, 256) for concentrations (region,)."""
        image = np.zeros((ROWS, COLUMNS))
        for weight, (rows, columns, box) in zip(weights, self.boxes[view], strict=True):
            image[rows, columns] += weight * box.astype(float)
        return image

    def organ_image(self, view: int, weights: np.ndarray) -> np.ndarray:
        """Return the organs' image (1024, 256) for concentrations (organ,)."""
        grid = sum(weight * organ.astype(float) for weight, organ in zip(weights, self.organs[view], strict=True))
        return (self.to_rows @ grid) @ self.to_columns.T


@lru_cache(maxsize=N_TEMPLATES)
def load_template(index: int) -> Template:
    """Return template `index` (0-15), from the cache folder or built now."""
    path = _cache_file(index)
    # A damaged file is built again, and so is one that is not there.
    with suppress(OSError, ValueError, TypeError, zipfile.BadZipFile), np.load(path, allow_pickle=False) as stored:
        return Template(**dict(stored))
    arrays = _build(index)
    # A read-only home is no error: the template is built again next time.
    remove_stale(path.parent, deep=False)
    with suppress(OSError), write_atomic(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return Template(**arrays)


def _cache_file(index: int) -> Path:
    """Return the cache file, named by what the template depends on."""
    package = resources.files("bonescan_utils")
    code = [f"phantom/{name}.py" for name in ("skeleton", "body", "projection", "template")]
    files = [package.joinpath(name).read_bytes() for name in ("assets/skeleton.npz", *code)]
    digest = hashlib.sha256(b"".join(files)).hexdigest()[:12]
    return Path(platformdirs.user_cache_dir("bonescan-utils")) / f"template-{digest}-{index:02d}.npz"


def _build(index: int) -> dict[str, np.ndarray]:
    """Return the arrays of template `index`, rounded as they are stored."""
    scale, fat, head_row = _habitus(index)
    points = load_skeleton().points(index) * scale
    body = build_body(load_skeleton(), points, fat_mm=fat)
    head = np.array([head_row, points[:, 2].max()])
    geometry = {
        "grid": np.stack([getattr(body, view)[::COARSE, ::COARSE, ::COARSE] for view in VIEWS]).astype(np.float16),
        "origin_mm": body.origin_mm,
        "face_mm": np.array([body.face_mm[view] for view in VIEWS]),
        "head": head,
        "points_mm": points.astype(np.float32),
        "landmark_names": np.array(list(body.landmarks)),
        "landmarks_mm": np.array(list(body.landmarks.values())),
    }
    sigma = np.stack([sigma_pixels(abs(points[:, 1] - body.face_mm[view])) for view in VIEWS])
    transmission = np.stack([body.transmission(view, points) for view in VIEWS])
    pixel = np.stack([head_row + (head[1] - points[:, 2]) / PIXEL_MM, COLUMNS / 2 + points[:, 0] / PIXEL_MM], axis=1)
    corner, pixels = _project_regions(pixel, transmission * float(np.prod(scale)), sigma)
    organs = np.stack([_project_organs(body, view) for view in VIEWS]).astype(np.float32)
    tables = {"transmission": transmission.astype(np.float16), "sigma": sigma.astype(np.float16)}
    return geometry | tables | {"corner": corner, "pixels": pixels, "organs": organs}


def _habitus(index: int) -> tuple[np.ndarray, float, float]:
    """Return (scale (3,), fat in mm, row of the top of the head) of a template."""
    rng = np.random.default_rng([TEMPLATE_SEED, index])
    sz = rng.uniform(0.92, 1.06)
    scale = np.array([sz * rng.uniform(0.94, 1.06), sz * rng.uniform(0.94, 1.08), sz])
    return scale, float(np.clip(24.0 * np.exp(rng.normal(0, 0.42)), 9, 62)), float(rng.uniform(45, 110))


def _project_regions(pixel: np.ndarray, share: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the box corners int16 (view, region, 4) and the boxes' pixels float16, one after the other."""
    skeleton = load_skeleton()
    corners, images = [], []
    for v in range(len(VIEWS)):
        for region in range(len(skeleton.regions)):
            at = np.flatnonzero(skeleton.region == region)
            row, column, image = splat(pixel[at], skeleton.weight[at] * share[v, at], sigma[v, at])
            corners.append((row, column, *image.shape))
            images.append(image.ravel())
    shape = (len(VIEWS), len(skeleton.regions), 4)
    return np.array(corners, np.int16).reshape(shape), np.concatenate(images).astype(np.float16)


def _project_organs(body: Body, view: str) -> np.ndarray:
    """Return float64 (organ, nz, nx): ml of organ seen through each pixel's column, attenuated and blurred."""
    grid = body.anterior if view == "anterior" else body.posterior
    y = body.origin_mm[1] + GRID_MM * np.arange(grid.shape[1])
    out = []
    for name in ORGANS:
        photons = body.organs[name] * grid
        depth = abs((photons.sum(axis=(0, 2)) @ y) / photons.sum() - body.face_mm[view])
        sigma = float(sigma_pixels(depth)) * PIXEL_MM / GRID_MM
        out.append(ndi.gaussian_filter(photons.sum(axis=1), sigma).T * PIXEL_MM**2 * GRID_MM / 1000)
    return np.array(out)
