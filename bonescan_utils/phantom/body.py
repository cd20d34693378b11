"""The soft tissue around the skeleton: outline, organs, attenuation, on a 5 mm grid.

Coefficients: 0.145 /cm for soft tissue and 0.045 /cm for lung at 140 keV (broad beam), 0.08 nepers for the table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from bonescan_utils.phantom.skeleton import Skeleton

GRID_MM = 5.0
MU_SOFT, MU_LUNG = 0.145, 0.045  # per cm
TABLE_NEPERS = 0.08
FAT_MEDIAN_MM = 24.0
ORGANS = ("body", "lung", "brain", "liver", "heart", "kidney_l", "kidney_r")
JOINTS = (
    "humerus_prox",
    "humerus_dist",
    "carpus",
    "metacarpus",
    "femur_dist",
    "tibia_dist",
    "tarsus",
    "metatarsus",
    "toes",
)
TRUNK = ("pelvis", "sacrum", "L", "T", "rib", "sternum", "clavicle", "scapula")


@dataclass(frozen=True)
class Body:
    """A body's soft tissue on a grid of `GRID_MM` steps, indexed (x, y, z).

    Attributes:
        origin_mm: Position of grid point (0, 0, 0).
        organs: bool (nx, ny, nz) per organ; `body` holds all of the others.
        anterior, posterior: float32 (nx, ny, nz), fraction of photons that leave the body towards that detector.
        face_mm: y of the two detector faces.
        landmarks: Named points (3,) in mm: bladder, kidneys, elbows, hands, mouth, ...
    """

    origin_mm: np.ndarray
    organs: dict[str, np.ndarray]
    anterior: np.ndarray
    posterior: np.ndarray
    face_mm: dict[str, float]
    landmarks: dict[str, np.ndarray]

    def transmission(self, view: str, points: np.ndarray) -> np.ndarray:
        """Return the transmission (n,) from points (n, 3) in mm to a view's detector (nearest grid point)."""
        grid = self.anterior if view == "anterior" else self.posterior
        index = np.round((points - self.origin_mm) / GRID_MM).astype(int)
        index = np.clip(index, 0, np.array(grid.shape) - 1)
        return grid[tuple(index.T)]


def build_body(skeleton: Skeleton, points: np.ndarray, *, fat_mm: float) -> Body:
    """Wrap a posed skeleton, points (n, 3) in mm, in a body with `fat_mm` of subcutaneous fat."""
    origin = points.min(axis=0) - [60, 110, 40]
    axes = [np.arange(lo, hi, GRID_MM) for lo, hi in zip(origin, points.max(axis=0) + [60, 110, 40], strict=True)]
    joints = _landmarks(skeleton, points)
    body = _trunk(skeleton, points, axes, joints, fat_mm) | _limbs(axes, joints, fat_mm)
    body |= _head(skeleton, points, axes)
    organs = {"body": body} | {
        name: _ellipsoid(axes, centre, semi) & body for name, (centre, semi) in _organs(skeleton, points).items()
    }
    organs["lung"] = organs.pop("lung_l") | organs.pop("lung_r")
    mu = np.where(organs["lung"], MU_LUNG, np.where(body, MU_SOFT, 0.0)) * GRID_MM / 10
    depth = np.cumsum(mu, axis=1) - mu / 2
    total = mu.sum(axis=1, keepdims=True)
    inside = np.flatnonzero(body.any(axis=(0, 2)))
    face = {"anterior": axes[1][inside[0]] - 25.0, "posterior": axes[1][inside[-1]] + 45.0}
    anterior = np.exp(-depth).astype(np.float32)
    posterior = np.exp(-(total - depth) - TABLE_NEPERS).astype(np.float32)
    return Body(origin, organs, anterior, posterior, face, joints)


def _centre(skeleton: Skeleton, points: np.ndarray, *regions: str) -> np.ndarray:
    return points[skeleton.in_region(*regions)].mean(axis=0)


def _landmarks(skeleton: Skeleton, points: np.ndarray) -> dict[str, np.ndarray]:
    """Return the joints and the places where tracer collects outside bone, (3,) in mm each."""
    at = {}
    for side, sign in (("l", 1.0), ("r", -1.0)):
        for part in JOINTS:
            at[f"{part}_{side}"] = _centre(skeleton, points, f"{part}_{side}")
        at[f"hip_{side}"] = _centre(skeleton, points, f"acetabulum_{side}")
        lumbar = _centre(skeleton, points, "L1")
        at[f"kidney_{side}"] = lumbar + [sign * 58, 2, 4 if side == "l" else -8]
        at[f"ureter_{side}"] = _centre(skeleton, points, "L4") + [sign * 36, -28, 0]
        at[f"breast_{side}"] = _centre(skeleton, points, "sternum_body") + [sign * 80, -8, -20]
    pubis = (at["hip_l"] + at["hip_r"]) / 2
    at["bladder"] = pubis + [0, -18, 22]
    at["genital"] = pubis + [0, -45, -62]
    face = _centre(skeleton, points, "face")
    at["nose"], at["mouth"] = face + [0, -8, 10], face + [0, -10, -28]
    at["larynx"] = _centre(skeleton, points, "C5") + [0, -45, 0]
    return at


def _organs(skeleton: Skeleton, points: np.ndarray) -> dict[str, tuple[np.ndarray, list[float]]]:
    """Return (centre, semi-axes) in mm of the organs, hung on nearby bones."""
    t8, t11, l1 = (_centre(skeleton, points, name) for name in ("T8", "T11", "L1"))
    skull = _centre(skeleton, points, "calvarium")
    return {
        "lung_l": (t8 + [62, -70, 20], [48, 72, 112]),
        "lung_r": (t8 + [-62, -70, 20], [50, 72, 112]),
        "brain": (skull + [0, 4, 0], [58, 76, 52]),
        "liver": (t11 + [-52, -80, -22], [82, 74, 58]),
        "heart": (t8 + [28, -105, -12], [46, 38, 48]),
        "kidney_l": (l1 + [58, 2, 4], [26, 21, 54]),
        "kidney_r": (l1 + [-58, 2, -8], [26, 21, 54]),
    }


def _mesh(axes: list[np.ndarray]) -> list[np.ndarray]:
    return list(np.meshgrid(*axes, indexing="ij", sparse=True))


def _ellipsoid(axes: list[np.ndarray], centre: np.ndarray, semi: list[float], power: float = 2.0) -> np.ndarray:
    terms = [abs((a - c) / s) ** power for a, c, s in zip(_mesh(axes), centre, semi, strict=True)]
    return terms[0] + terms[1] + terms[2] < 1


def _head(skeleton: Skeleton, points: np.ndarray, axes: list[np.ndarray]) -> np.ndarray:
    """Return an ellipsoid 7 mm outside the skull and one about the jaw."""
    out = np.zeros([len(a) for a in axes], bool)
    for bone in ("skull", "jaw"):
        part = points[skeleton.of(bone)]
        low, high = part.min(axis=0), part.max(axis=0)
        out |= _ellipsoid(axes, (low + high) / 2, list((high - low) / 2 + 7), 2.3)
    return out


def _trunk(
    skeleton: Skeleton,
    points: np.ndarray,
    axes: list[np.ndarray],
    joints: dict[str, np.ndarray],
    fat_mm: float,
) -> np.ndarray:
    """Return a stack of super-ellipses (exponent 2.6) that follow the trunk's bones, closed under the hips."""
    names = [name for name in skeleton.bones if name.startswith(TRUNK) and not name.startswith(("talus", "tibia"))]
    trunk = points[skeleton.of(*names)]
    z = axes[2]
    hip = min(joints["hip_l"][2], joints["hip_r"][2])
    chest = points[skeleton.in_region("manubrium")][:, 2].max()
    deep = 110 + 55 * np.clip((chest + 10 - z) / 70, 0, 1)  # shallow at the shoulders
    extent = np.array([_rolling_extent(trunk, level, d) for level, d in zip(z, deep, strict=True)])  # (nz, 4)
    good = ~np.isnan(extent[:, 0])
    extent = np.array([np.interp(z, z[good], column[good]) for column in extent.T])
    x0, x1, y0, y1 = ndi.gaussian_filter1d(extent, 5, axis=1)
    belly = 0.8 * 0.9 * fat_mm * np.exp(-((z - (hip + 170)) ** 2) / (2 * 90**2))
    x0, x1 = x0 - fat_mm + 6, x1 + fat_mm - 6
    y0, y1 = y0 - 0.75 * fat_mm + 4 - belly, y1 + 0.45 * fat_mm + 3
    taper = np.sqrt(np.clip(1 - (hip - z) / 70, 0, 1)) * np.clip((trunk[:, 2].max() + 12 - z) / 40, 0, 1) ** 0.5
    taper = np.where(z > trunk[:, 2].max() + 12, 0, np.minimum(taper, 1))
    x, y, _ = _mesh(axes)
    half_x, half_y = np.maximum((x1 - x0) / 2 * taper, 1e-3), np.maximum((y1 - y0) / 2 * taper, 1e-3)
    return abs((x - (x0 + x1) / 2) / half_x) ** 2.6 + abs((y - (y0 + y1) / 2) / half_y) ** 2.6 < 1


def _rolling_extent(trunk: np.ndarray, level: float, deep: float) -> list[float]:
    """Return the trunk's extent (x-, x+, y-, y+) within 45 mm of a level; nan where there is no bone."""
    near = trunk[abs(trunk[:, 2] - level) < 45]
    if len(near) < 20:
        return [np.nan] * 4
    low, high = np.percentile(near[:, :2], 1, axis=0), np.percentile(near[:, :2], 99, axis=0)
    wide = max(high[0] - low[0], 210.0)  # the waist, where the spine alone spans the slice
    middle = (low[0] + high[0]) / 2
    return [middle - wide / 2, middle + wide / 2, min(low[1], high[1] - deep), high[1]]


def _limbs(axes: list[np.ndarray], at: dict[str, np.ndarray], fat_mm: float) -> np.ndarray:
    """Return arms, legs, neck, hands and feet as chains of tapered capsules (node, radius in mm)."""
    out = np.zeros([len(a) for a in axes], bool)
    extra = fat_mm - FAT_MEDIAN_MM
    for side, medial in (("l", -1.0), ("r", 1.0)):
        arm = [at[f"humerus_prox_{side}"], at[f"humerus_dist_{side}"], at[f"carpus_{side}"]]
        hip, knee, ankle = at[f"hip_{side}"], at[f"femur_dist_{side}"], at[f"tibia_dist_{side}"]
        inward = np.array([medial, 0, 0])
        chains: list[tuple[list[np.ndarray], list[float], float]] = [
            (
                [arm[0], (arm[0] + arm[1]) / 2, arm[1], (arm[1] + arm[2]) / 2, arm[2]],
                [54, 46, 40, 41, 27],
                0.5,
            ),
            ([arm[2], at[f"metacarpus_{side}"], 2 * at[f"metacarpus_{side}"] - arm[2]], [27, 26, 17], 0.1),
            (
                [
                    hip + (knee - hip) * t + inward * d
                    for t, d in zip((0, 0.25, 0.5, 0.8, 1), (18, 24, 22, 16, 6), strict=True)
                ],
                [74, 84, 76, 62, 57],
                0.8,
            ),
            ([knee, knee + (ankle - knee) * 0.3, knee + (ankle - knee) * 0.65, ankle], [56, 56, 40, 36], 0.4),
            (
                [ankle, at[f"tarsus_{side}"], at[f"metatarsus_{side}"], at[f"toes_{side}"]],
                [36, 35, 28, 17],
                0.1,
            ),
        ]
        for nodes, radii, grow in chains:
            _add_chain(out, axes, nodes, [r + grow * extra for r in radii])
    top, bottom = at["mouth"] + [0, 60, 0], at["larynx"] + [0, 40, -60]
    _add_chain(out, axes, [top, (top + bottom) / 2, bottom], [58 + 0.3 * extra, 57 + 0.3 * extra, 62 + 0.4 * extra])
    return out


def _add_chain(out: np.ndarray, axes: list[np.ndarray], nodes: list[np.ndarray], radii: list[float]) -> None:
    """Fill the tapered capsules between consecutive nodes, in place."""
    for (a, ra), (b, rb) in zip(
        zip(nodes[:-1], radii[:-1], strict=True), zip(nodes[1:], radii[1:], strict=True), strict=True
    ):
        margin = max(ra, rb)
        box = tuple(
            slice(*np.searchsorted(axis, [min(p, q) - margin, max(p, q) + margin]))
            for axis, p, q in zip(axes, a, b, strict=True)
        )
        x, y, z = _mesh([axis[part] for axis, part in zip(axes, box, strict=True)])
        line = b - a
        t = np.clip(((x - a[0]) * line[0] + (y - a[1]) * line[1] + (z - a[2]) * line[2]) / (line @ line), 0, 1)
        gap = (x - a[0] - t * line[0]) ** 2 + (y - a[1] - t * line[1]) ** 2 + (z - a[2] - t * line[2]) ** 2
        out[box] |= gap < (ra + t * (rb - ra)) ** 2
