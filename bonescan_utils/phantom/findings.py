"""Findings: metastases by primary cancer, and benign mimics at the same rates in both classes.

A finding takes the shape of its bone: it is the points of one bone within a radius of one of them. Metastases and
benign foci go through the same code; only sites, sizes and contrasts differ. Every rate here is a published prior of
this package (`docs/phantom.md`), not a measured frequency.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bonescan_utils.phantom.skeleton import Skeleton, load_skeleton
from bonescan_utils.phantom.template import Template
from bonescan_utils.phantom.uptake import stem

SITES: dict[str, dict[str, float]] = {
    "prostate": {"L": 0.20, "T": 0.19, "C": 0.03, "sacrum": 0.08, "ilium": 0.11, "acetabulum": 0.05,
                 "ischiopubis": 0.06,
                 "sij": 0.02, "rib": 0.15, "femur_prox": 0.05, "humerus_prox": 0.02, "calvarium": 0.02,
                 "sternum_body": 0.01, "scapula": 0.01},
    "breast": {"L": 0.15, "T": 0.19, "C": 0.04, "sacrum": 0.04, "ilium": 0.09, "acetabulum": 0.03, "ischiopubis": 0.02,
               "rib": 0.20, "sternum_body": 0.05, "manubrium": 0.03, "femur_prox": 0.05, "femur_shaft": 0.01,
               "humerus_prox": 0.03, "calvarium": 0.05, "scapula": 0.02},
    "lung": {"rib": 0.29, "T": 0.17, "L": 0.13, "C": 0.03, "ilium": 0.09, "sacrum": 0.04, "acetabulum": 0.03,
             "ischiopubis": 0.02, "femur_prox": 0.06, "femur_shaft": 0.03, "humerus_prox": 0.03, "humerus_shaft": 0.01,
             "calvarium": 0.03, "scapula": 0.03, "sternum_body": 0.01},
}  # fmt: skip
"""Chance of a metastasis at each region stem by primary cancer (order: Kakhki 2013, Hui 2018)."""
SITES["other"] = {s: sum(sites.get(s, 0) for sites in SITES.values()) / 3 for s in sorted(set().union(*SITES.values()))}

NUMBERS = ((1, 2), (3, 8), (9, 18), (19, 30))
NUMBER_CHANCE = (0.06, 0.34, 0.36, 0.24)
SUPERSCAN_CHANCE = 0.03
BENIGN_FACTOR = 0.6  # k: scales every benign rate
VISIBLE = 0.8
"""A lesion of at least this visibility (peak over background) counts as one a reader can see."""

JOINTS = {
    "knee_oa": (0.38, ("femur_dist", "tibia_prox")), "patella": (0.20, ("patella",)), "ac_oa": (0.30, ("acj",)),
    "shoulder_oa": (0.25, ("humerus_prox", "glenoid")), "hip_oa": (0.22, ("acetabulum",)),
    "sc_oa": (0.20, ("clav_med",)), "wrist_oa": (0.20, ("carpus", "radius_dist")),
    "foot_oa": (0.25, ("tarsus", "metatarsus")), "elbow_oa": (0.12, ("humerus_dist", "ulna_prox")),
    "trochanter": (0.10, ("femur_prox",)),
}  # fmt: skip
"""Degenerative foci: chance per side at od = 1, and the regions where they sit."""

FOCI = {
    "dental": (0.30, ("jaw",), (8, 13), 2.2), "sinus": (0.15, ("face",), (9, 16), 2.0),
    "compression_fracture": (0.05, ("T", "L"), (20, 26), 2.4), "sacroiliitis": (0.02, ("sij",), (20, 30), 1.4),
    "fracture": (0.04, ("humerus_prox", "radius_dist", "femur_prox", "tibia_shaft", "metatarsus"), (9, 16), 3.4),
    "benign_bone_lesion": (0.05, ("humerus_shaft", "femur_dist", "tibia_prox", "ilium", "rib"), (8, 16), 2.8),
}  # fmt: skip
"""Other benign foci: chance at k = 1, regions, radius range in mm, median contrast."""


@dataclass(frozen=True)
class Finding:
    """A focus of raised uptake in one bone.

    Attributes:
        kind: `metastasis`, or the kind of mimic.
        region: The region of its centre.
        centre_mm: (3,) in the template's frame.
        radius_mm: Its reach within the bone.
        contrast: Extra uptake at the centre, as a multiple of the region's own.
        points: int (n,), the skeleton points it takes.
        share: float (n,), 0-1, how much of the contrast each of them has.
    """

    kind: str
    region: str
    centre_mm: np.ndarray
    radius_mm: float
    contrast: float
    points: np.ndarray
    share: np.ndarray


def focus(template: Template, centre: int, *, kind: str, radius: float, contrast: float) -> Finding:
    """Return the finding around skeleton point `centre`: share = clip(1.25 - d^2 / r^2, 0, 1) within its bone."""
    skeleton = load_skeleton()
    bone = skeleton.points_of_bone[skeleton.bone[centre]]
    at = template.points_mm[centre].astype(float)
    square = ((template.points_mm[bone] - at) ** 2).sum(axis=1)
    share = np.clip(1.25 - square / radius**2, 0, 1)
    hit = share > 0
    region = skeleton.regions[skeleton.region[centre]]
    return Finding(kind, region, at, float(radius), float(contrast), bone[hit], share[hit])


def _pick(rng: np.random.Generator, skeleton: Skeleton, stems: tuple[str, ...], side: str = "") -> int:
    """Return a random skeleton point in any region with one of these stems (and side)."""
    names = [r for r in skeleton.regions if stem(r) in stems and r.endswith(side)]
    points = np.concatenate([skeleton.points_of_region[name] for name in names])
    return int(points[rng.integers(len(points))])


def _lognormal(rng: np.random.Generator, median: float, sd: float, low: float, high: float) -> float:
    return float(np.clip(median * np.exp(rng.normal(0, sd)), low, high))


def draw_number(rng: np.random.Generator, *, superscan: bool) -> int:
    """Return how many metastases a positive patient has."""
    low, high = NUMBERS[3 if superscan else rng.choice(4, p=NUMBER_CHANCE)]
    return int(rng.integers(low, high + 1))


def draw_metastases(
    rng: np.random.Generator, template: Template, primary: str, n: int, *, strength: float
) -> list[Finding]:
    """Draw `n` metastases; `strength` is the patient's contrast, which each lesion varies by 35 %."""
    skeleton = load_skeleton()
    stems, chance = list(SITES[primary]), np.array(list(SITES[primary].values()))
    out = []
    for site in rng.choice(len(stems), n, p=chance / chance.sum()):
        radius = _lognormal(rng, 15.5, 0.35, 5, 30)
        contrast = _lognormal(rng, strength, 0.35, 0.8, 12)
        centre = _pick(rng, skeleton, (stems[site],))
        out.append(focus(template, centre, kind="metastasis", radius=radius, contrast=contrast))
    return out


def draw_strength(rng: np.random.Generator) -> float:
    """Return a patient's typical lesion contrast."""
    return float(3.3 * np.exp(rng.normal(0, 0.25)))


def draw_mimics(rng: np.random.Generator, template: Template, *, age: float, sex: str) -> list[Finding]:
    """Draw the benign foci of one patient; the label is not known here, so it cannot matter."""
    skeleton, k = load_skeleton(), BENIGN_FACTOR
    od = float(np.clip((age - 35) / 40, 0.1, 1.3)) * k
    out = []

    def add(kind: str, stems: tuple[str, ...], radius: float, contrast: float, side: str = "") -> None:
        out.append(focus(template, _pick(rng, skeleton, stems, side), kind=kind, radius=radius, contrast=contrast))

    for kind, (chance, stems) in JOINTS.items():
        for side in ("_l", "_r"):
            if rng.random() < chance * od:
                add(kind, stems, _lognormal(rng, 14, 0.3, 6, 26), _lognormal(rng, 2.4, 0.5, 0.6, 9), side)
    for _ in range(rng.poisson(1.7 * od)):
        add("facet_osteophyte", ("C", "T", "L"), rng.uniform(6, 11), _lognormal(rng, 2.8, 0.45, 0.6, 8))
    for kind, (chance, stems, (low, high), median) in FOCI.items():
        if rng.random() < chance * k:
            add(kind, stems, rng.uniform(low, high), _lognormal(rng, median, 0.4, 0.5, 9))
    if sex == "F" and rng.random() < 0.10 * k:
        add("hyperostosis_frontalis", ("calvarium",), rng.uniform(25, 40), _lognormal(rng, 1.6, 0.3, 0.5, 4))
    if rng.random() < 0.17 * k:
        out += _rib_fractures(rng, template)
    return out


def _rib_fractures(rng: np.random.Generator, template: Template) -> list[Finding]:
    """Draw one rib fracture (55 %), or two to five in a line through neighbouring ribs."""
    skeleton = load_skeleton()
    n = 1 if rng.random() < 0.55 else int(rng.integers(2, 6))
    side, first, along = "lr"[rng.integers(2)], int(rng.integers(2, 11 - n)), rng.uniform(0.1, 0.9)
    out = []
    for rib in range(first, first + n):
        points = skeleton.points_of_bone[skeleton.bones.index(f"rib{rib:02d}_{side}")]
        y = template.points_mm[points, 1]
        centre = int(points[np.argsort(y)[int(along * (len(points) - 1))]])
        radius, contrast = rng.uniform(7, 10), _lognormal(rng, 3.4, 0.4, 0.8, 9)
        out.append(focus(template, centre, kind="rib_fracture", radius=radius, contrast=contrast))
    return out


def draw_diffuse(rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Return a factor per region (126,) for prostheses and Paget's disease, and their names."""
    names, k = load_skeleton().regions, BENIGN_FACTOR
    factor, kinds = np.ones(len(names)), []
    for kind, chance, stems, low, high in (
        ("hip_prosthesis", 0.03, ("femur_prox", "acetabulum"), 0.22, 0.22),
        ("knee_prosthesis", 0.04, ("femur_dist", "tibia_prox"), 0.45, 0.45),
        ("paget", 0.012, ("ilium", "crest", "acetabulum", "ischiopubis"), 2.0, 4.0),
    ):
        if rng.random() < chance * k:
            side = ("_l", "_r")[rng.integers(2)]
            hit = [stem(name) in stems and name.endswith(side) for name in names]
            factor[hit] *= rng.uniform(low, high)
            kinds.append(kind)
    return factor, kinds
