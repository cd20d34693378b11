"""The skeleton: 132 bones as lattice points, 16 poses, and the 126 regions that take up the tracer.

Frame: x to the patient's left, y to the back, z up, millimetres, pelvis at x = y = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources

import numpy as np
from scipy.spatial import cKDTree

CARPUS = ("lunate", "scaphoid", "pisiform", "triquetrum", "capitate", "trapezium", "trapezoid", "hamate")
LONG_BONES = ("humerus", "ulna", "radius", "femur", "tibia")
MARROW_DEPTH_MM = 5
"""A shaft's point deeper than this is marrow and takes up `MARROW_WEIGHT` of the cortex's tracer (assumption)."""
MARROW_WEIGHT = 0.35


@dataclass(frozen=True)
class Skeleton:
    """The asset in memory.

    Attributes:
        bones: Names of the 132 bones.
        regions: Names of the 126 uptake regions, e.g. `L3`, `rib07_l`, `femur_prox_r`.
        bone: int (n,), bone of each point.
        region: int (n,), region of each point.
        weight: float (n,), volume of each point in ml, less in the marrow of shafts.
        local_mm: float (n, 3), position of each point in its bone's frame.
        frame: float (pose, n_frames, 3, 4), pose of each frame.
        frame_of_bone: int (132,), the frame a bone moves with.
    """

    bones: tuple[str, ...]
    regions: tuple[str, ...]
    bone: np.ndarray
    region: np.ndarray
    weight: np.ndarray
    local_mm: np.ndarray
    frame: np.ndarray
    frame_of_bone: np.ndarray

    def points(self, pose: int) -> np.ndarray:
        """Return the points of one pose, float64 (n, 3) in mm."""
        frame = self.frame[pose][self.frame_of_bone[self.bone]]
        return np.einsum("nij,nj->ni", frame[:, :, :3], self.local_mm) + frame[:, :, 3]

    @cached_property
    def points_of_bone(self) -> list[np.ndarray]:
        """The points of each bone, int arrays."""
        return [np.flatnonzero(self.bone == i) for i in range(len(self.bones))]

    @cached_property
    def points_of_region(self) -> dict[str, np.ndarray]:
        """The points of each region, int arrays."""
        return {name: np.flatnonzero(self.region == i) for i, name in enumerate(self.regions)}

    def of(self, *names: str) -> np.ndarray:
        """Return the mask (n,) of the points of bones with these names."""
        return np.isin(self.bone, [self.bones.index(name) for name in names])

    def in_region(self, *names: str) -> np.ndarray:
        """Return the mask (n,) of the points of regions with these names."""
        return np.isin(self.region, [self.regions.index(name) for name in names])


@lru_cache(maxsize=1)
def load_skeleton() -> Skeleton:
    """Return the embedded skeleton (see `assets/README.md` for its source and licence)."""
    with resources.files("bonescan_utils").joinpath("assets/skeleton.npz").open("rb") as file:
        asset = dict(np.load(file, allow_pickle=False))
    bones = tuple(str(name).removeprefix("hat_") for name in asset["name"])
    bone, depth = asset["bone"].astype(int), asset["depth_mm"]
    local = asset["origin_mm"][bone].astype(float) + asset["index"].T * float(asset["lattice_mm"])
    frame = asset["frame"].astype(float)
    named = _name_regions(bones, bone, local, frame[0][asset["frame_of_bone"]])
    regions, region = np.unique(named, return_inverse=True)
    shaft = np.char.find(named, "_shaft") >= 0
    weight = np.where(shaft & (depth > MARROW_DEPTH_MM), MARROW_WEIGHT, 1.0) * float(asset["lattice_mm"]) ** 3 / 1000
    return Skeleton(bones, tuple(regions.tolist()), bone, region, weight, local, frame, asset["frame_of_bone"])


def _name_regions(bones: tuple[str, ...], bone: np.ndarray, local: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Return each point's region name, found in pose 0: most by the bone, some by a distance to a neighbour."""
    xyz = np.einsum("nij,nj->ni", frame[bone][:, :, :3], local) + frame[bone][:, :, 3]
    named = np.empty(len(bone), "<U20")
    points = {name: np.flatnonzero(bone == i) for i, name in enumerate(bones)}
    for name, at in points.items():
        stem, side = (name[:-2], name[-2:]) if name[-2:] in ("_l", "_r") else (name, "")
        named[at] = [label + side for label in _split_bone(stem, xyz[at])]
    for side in ("_l", "_r"):
        _split_pelvis(named, xyz, points, side)
        _split_shoulder(named, xyz, points, side)
        _split_ribs(named, xyz, points, side)
    return named


def _split_bone(stem: str, xyz: np.ndarray) -> list[str]:
    """Return the region stem of each point of one bone, from the position within the bone alone."""
    low, high = xyz.min(axis=0), xyz.max(axis=0)
    t = (xyz - low) / np.maximum(high - low, 1e-9)  # 0-1 along x, y, z
    if stem in LONG_BONES:
        return np.select([t[:, 2] > 0.8, t[:, 2] < 0.2], [f"{stem}_prox", f"{stem}_dist"], f"{stem}_shaft").tolist()
    if stem == "skull":
        face, base = (t[:, 2] < 0.47) & (t[:, 1] < 0.42), t[:, 2] < 0.42
        return np.select([face, base], ["face", "skullbase"], "calvarium").tolist()
    if stem == "sternum":
        off = abs(xyz[:, 0] - (low[0] + high[0]) / 2)  # mm from the midline
        top, middle = (t[:, 2] > 0.8) & (off < 34), (t[:, 2] > 0.36) & (off < 23)
        return np.select([top, middle], ["manubrium", "sternum_body"], "costal_cartilage").tolist()
    if stem == "foot":
        return np.where(t[:, 1] > 0.45, "tarsus", "metatarsus").tolist()  # y: the heel is at the back
    return [_plain_region(stem)] * len(xyz)


def _plain_region(stem: str) -> str:
    """Return the region stem of a bone that is one region."""
    if stem in CARPUS:
        return "carpus"
    if stem.endswith("mc"):
        return "metacarpus"
    if stem[0].isdigit() or stem.startswith("thumb"):
        return "fingers"
    return {"bofoot": "toes", "pelvis": "ilium"}.get(stem, stem)


def _near(xyz: np.ndarray, at: np.ndarray, others: np.ndarray, mm: float) -> np.ndarray:
    """Return the members of `at` within `mm` of any point of `others`."""
    return at[cKDTree(xyz[others]).query(xyz[at], distance_upper_bound=mm)[0] < mm]


def _head_of(xyz: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the centre of a humeral or femoral head: the most medial part of the bone's upper end."""
    top = at[xyz[at, 2] > xyz[at, 2].max() - 45]
    medial = np.argsort(abs(xyz[top, 0]))[: len(top) // 3]
    return xyz[top[medial]].mean(axis=0)


def _split_pelvis(named: np.ndarray, xyz: np.ndarray, points: dict[str, np.ndarray], side: str) -> None:
    """Name acetabulum, ischium and pubis, iliac crest and sacroiliac joint of one side."""
    pelvis, sacrum = points[f"pelvis{side}"], points["sacrum"]
    head = _head_of(xyz, points[f"femur{side}"])
    named[pelvis[xyz[pelvis, 2] < head[2]]] = f"ischiopubis{side}"
    named[pelvis[xyz[pelvis, 2] > xyz[pelvis, 2].max() - 28]] = f"crest{side}"
    named[pelvis[np.linalg.norm(xyz[pelvis] - head, axis=1) < 42]] = f"acetabulum{side}"
    named[_near(xyz, pelvis, sacrum, 7)] = f"sij{side}"
    named[_near(xyz, sacrum, pelvis, 5)] = f"sij{side}"


def _split_shoulder(named: np.ndarray, xyz: np.ndarray, points: dict[str, np.ndarray], side: str) -> None:
    """Name the medial clavicle, the acromioclavicular joint and the glenoid of one side."""
    clavicle, scapula = points[f"clavicle{side}"], points[f"scapula{side}"]
    lateral = abs(xyz[clavicle, 0])
    t = (lateral - lateral.min()) / np.ptp(lateral)
    named[clavicle[t < 0.25]] = f"clav_med{side}"
    named[clavicle[t > 0.85]] = f"acj{side}"
    head = _head_of(xyz, points[f"humerus{side}"])
    named[scapula[np.linalg.norm(xyz[scapula] - head, axis=1) < 52]] = f"glenoid{side}"
    named[_near(xyz, scapula, clavicle[t > 0.85], 10)] = f"acj{side}"


def _split_ribs(named: np.ndarray, xyz: np.ndarray, points: dict[str, np.ndarray], side: str) -> None:
    """Name the ends of ribs 1-7 beside the cartilage of one side."""
    for rib in range(1, 8):
        named[_near(xyz, points[f"rib{rib:02d}{side}"], points["sternum"], 9)] = f"ccj{side}"
