"""Uptake: how much tracer each region, organ and pool of one patient holds (soft tissue = 1 per ml).

The bone values are tuned to the projected look of a thin, low-polygon skeleton, not to biology; `docs/phantom.md`
publishes them as assumptions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bonescan_utils.phantom.body import ORGANS
from bonescan_utils.phantom.projection import PIXEL_MM, splat
from bonescan_utils.phantom.skeleton import load_skeleton
from bonescan_utils.phantom.template import Template

UPTAKE = {
    "calvarium": 6.0, "skullbase": 3.0, "face": 3.8, "jaw": 5.5, "manubrium": 21.0, "sternum_body": 22.0,
    "costal_cartilage": 0.8, "clavicle": 7.0, "clav_med": 17.0, "acj": 16.0, "scapula": 4.2, "glenoid": 10.0,
    "humerus_prox": 9.0, "humerus_shaft": 6.2, "humerus_dist": 6.5, "ulna_prox": 7.5, "ulna_shaft": 5.0,
    "ulna_dist": 7.0, "radius_prox": 6.5, "radius_shaft": 5.0, "radius_dist": 8.0, "carpus": 9.0, "metacarpus": 7.0,
    "fingers": 6.5, "rib": 12.0, "ccj": 15.0, "C": 8.0, "T": 8.0, "L": 10.5, "sacrum": 5.0, "sij": 9.5, "ilium": 6.0,
    "crest": 8.5, "acetabulum": 7.5, "ischiopubis": 5.5, "femur_prox": 6.2, "femur_shaft": 6.0, "femur_dist": 4.3,
    "patella": 4.5, "tibia_prox": 4.6, "tibia_shaft": 6.2, "tibia_dist": 5.2, "fibula": 4.5, "talus": 2.4,
    "tarsus": 3.4, "metatarsus": 4.6, "toes": 4.5,
}  # fmt: skip
"""Concentration of each region's stem (sides, rib and vertebra numbers left out) relative to soft tissue."""

GROUPS = (
    ("calvarium", "skullbase", "face", "jaw"), ("C", "T", "L", "sacrum"), ("rib", "ccj", "costal_cartilage"),
    ("manubrium", "sternum_body", "clav_med"), ("clavicle", "acj", "scapula", "glenoid"), ("humerus",),
    ("ulna", "radius"), ("carpus", "metacarpus", "fingers"), ("ilium", "crest", "acetabulum", "ischiopubis", "sij"),
    ("femur", "patella"), ("tibia", "fibula", "talus", "tarsus", "metatarsus", "toes"),
)  # fmt: skip
"""Eleven parts of the skeleton that vary together."""


PLACES = ("bladder", "kidneys", "injection_site")
"""Where a normal scan is hot outside bone; urine on skin or clothes counts as bladder."""


@dataclass(frozen=True)
class Pool:
    """Tracer outside bone: an ellipsoidal cloud at a place.

    Attributes:
        centre_mm: (3,) in the template's frame.
        sigma_mm: (x, z) spread; for a filled organ its semi-axes.
        amount: Total activity in ml times the soft tissue's concentration.
        solid: A filled ellipsoid (bladder) instead of a Gaussian cloud.
        place: One of `PLACES`, for what is not bone and hot in everybody; empty for the rest.
    """

    centre_mm: np.ndarray
    sigma_mm: tuple[float, float]
    amount: float
    solid: bool = False
    place: str = ""


@dataclass(frozen=True)
class Activity:
    """Where one patient's tracer is, before any finding.

    Attributes:
        regions: float64 (126,), concentration of each region.
        organs: float64 (7,), concentration of each organ relative to what it displaces.
        bladder: The one pool that the count level is not scaled on.
        pools: The other pools.
    """

    regions: np.ndarray
    organs: np.ndarray
    bladder: Pool
    pools: tuple[Pool, ...]


def stem(region: str) -> str:
    """Return the region's stem: `rib07_l` -> `rib`, `L3` -> `L`, `femur_prox_r` -> `femur_prox`."""
    plain = region.removesuffix("_l").removesuffix("_r")
    return plain.rstrip("0123456789") if plain[0] in "CTLr" else plain


def draw_activity(rng: np.random.Generator, template: Template, *, age: float, sex: str) -> Activity:
    """Draw one patient's normal uptake."""
    regions = _draw_bone(rng, age=age)
    soft = float(np.exp(rng.normal(0.12, 0.28)))
    kidney = float(np.exp(rng.normal(1.35, 0.5)))
    kept = np.ones(2)
    if rng.random() < 0.04:  # one kidney absent
        kept[rng.integers(2)] = 0.0
    organs = {
        "body": soft,
        "lung": (0.55 - 1) * soft,
        "brain": (0.25 - 1) * soft,
        "liver": abs(rng.normal(0.15, 0.15)) * soft,
        "heart": abs(rng.normal(0.3, 0.2)) * soft,
        "kidney_l": kidney * kept[0],
        "kidney_r": kidney * kept[1],
    }
    bladder, pools = _draw_urine(rng, template, kidney=kidney, kept=kept)
    pools += _draw_injection(rng, template) + _draw_head_and_soft(rng, template, sex=sex)
    return Activity(regions, np.array([organs[name] for name in ORGANS]), bladder, tuple(pools))


def _draw_bone(rng: np.random.Generator, *, age: float) -> np.ndarray:
    """Draw (126,): avidity of the patient x of 11 groups x of each bone type x of each side, rib and vertebra."""
    names = load_skeleton().regions
    stems = [stem(name) for name in names]
    avidity = np.exp(rng.normal(0.25, 0.22)) * (1 - 0.004 * (age - 60))
    groups = np.exp(rng.normal(0, 0.16, len(GROUPS)))
    of_group = [
        next(g for g, members in enumerate(GROUPS) if s.split("_")[0] in members or s in members) for s in stems
    ]
    kinds = list(UPTAKE)
    by_kind = np.exp(rng.normal(0, 1, len(kinds)) * np.array([0.06 if kind == "rib" else 0.12 for kind in kinds]))
    single = np.exp(rng.normal(0, 0.05, len(names)))
    normal = np.array([UPTAKE[s] * by_kind[kinds.index(s)] for s in stems])
    return np.asarray(avidity * normal * groups[of_group] * single)


def _draw_urine(
    rng: np.random.Generator, template: Template, *, kidney: float, kept: np.ndarray
) -> tuple[Pool, list[Pool]]:
    """Draw the bladder, and renal pelvis and ureter of each kidney present."""
    at = template.landmarks
    pools = []
    for side, present in zip("lr", kept, strict=True):
        if present and rng.random() < 0.65:
            amount = kidney * float(np.exp(rng.normal(3.3, 0.8))) / 4
            pools.append(Pool(at[f"kidney_{side}"] + [0, -6, 0], (8.0, rng.uniform(8, 14)), amount, place="kidneys"))
        if present and rng.random() < 0.08:
            place = at[f"ureter_{side}"] + [0, 0, rng.uniform(-60, 50)]
            sigma, urine = (4.0, rng.uniform(8, 25)), float(np.exp(rng.normal(2.6, 0.6)))
            pools.append(Pool(place, sigma, urine, place="kidneys"))
    x, y, z = rng.uniform(20, 48), rng.uniform(18, 34), rng.uniform(14, 36)
    amount = float(np.exp(rng.normal(3.9, 0.7))) * 4 / 3 * np.pi * x * y * z / 1000
    centre = at["bladder"] + [rng.normal(0, 5), 0, z - 20]
    return Pool(centre, (x, z), amount, solid=True, place="bladder"), pools


def _draw_injection(rng: np.random.Generator, template: Template) -> list[Pool]:
    """Draw what is left at the injection site, elbow or hand, in 85 % of the patients."""
    if rng.random() >= 0.85:
        return []
    place = ("humerus_dist", "metacarpus")[rng.integers(2)] + ("_l", "_r")[rng.integers(2)]
    jitter = rng.normal(0, 8, 3)
    sigma = (rng.uniform(4, 8), rng.uniform(5, 12))
    amount = float(np.exp(rng.normal(5.4, 0.8))) / 4
    return [Pool(template.landmarks[place] + jitter, sigma, amount, place="injection_site")]


def _draw_head_and_soft(rng: np.random.Generator, template: Template, *, sex: str) -> list[Pool]:
    """Draw nose, mouth, larynx, genital blood pool and breasts."""
    at = template.landmarks
    pools = [
        Pool(at["nose"] + rng.normal(0, 3, 3), (9.0, 11.0), float(np.exp(rng.normal(3.3, 0.4)))),
        Pool(at["mouth"] + rng.normal(0, 3, 3), (14.0, 8.0), float(np.exp(rng.normal(3.3, 0.5)))),
    ]
    if rng.random() < 0.5:
        pools.append(Pool(at["larynx"], (7.0, 9.0), float(np.exp(rng.normal(2.0, 0.4)))))
    if sex == "M":
        pools.append(Pool(at["genital"], (14.0, 18.0), float(np.exp(rng.normal(4.0, 0.4)))))
    elif rng.random() < 0.35:
        amount = float(np.exp(rng.normal(4.3, 0.4)))
        pools += [Pool(at[f"breast_{side}"], (32.0, 28.0), amount) for side in "lr"]
    return pools


def pool_image(template: Template, view: int, pool: Pool) -> tuple[int, int, np.ndarray]:
    """Return (row, column, image) of a pool: attenuated and blurred at its centre's depth."""
    centre = pool.centre_mm[None]
    share = template.transmission_at(view, centre)[0] * pool.amount
    resolution = template.sigma_at(view, centre)[0]
    pixel = template.to_pixel(centre)
    half = np.array([pool.sigma_mm[1], pool.sigma_mm[0]]) / PIXEL_MM  # rows, columns
    if not pool.solid:
        half = 3.5 * half
    reach = np.ceil(half).astype(int)
    rows, columns = np.mgrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
    inside = 1 - (rows / half[0]) ** 2 - (columns / half[1]) ** 2
    weight = np.sqrt(np.maximum(inside, 0)) if pool.solid else np.exp(-(3.5**2) / 2 * (1 - inside))
    weight *= share / weight.sum()
    points = pixel + np.stack([rows.ravel(), columns.ravel()], axis=1)
    return splat(points, weight.ravel(), np.full(points.shape[0], resolution))
