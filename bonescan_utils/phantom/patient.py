"""One phantom patient, from a seed and a number: demographics, disease, and the scan with its truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from bonescan_utils.phantom import camera
from bonescan_utils.phantom.findings import (
    BENIGN_FACTOR,
    SUPERSCAN_CHANCE,
    VISIBLE,
    draw_diffuse,
    draw_metastases,
    draw_mimics,
    draw_number,
    draw_strength,
)
from bonescan_utils.phantom.projection import PIXEL_MM
from bonescan_utils.phantom.template import N_TEMPLATES, Template, load_template
from bonescan_utils.phantom.uptake import Activity, Pool, draw_activity
from bonescan_utils.scan import VIEWS, Scan, View

PRIMARIES = ("prostate", "breast", "lung", "other")
PRIMARY_CHANCE = (0.38, 0.32, 0.18, 0.12)
AGE = {"prostate": (71, 8), "breast": (57, 11), "lung": (66, 9), "other": (63, 12)}
MALE_CHANCE = {"prostate": 1.0, "breast": 0.01, "lung": 0.65, "other": 0.5}
MAX_EXTRA_LESIONS = 6
LESION_COLUMNS = (
    "scan_id",
    "lesion",
    "kind",
    "region",
    "x_mm",
    "y_mm",
    "z_mm",
    "radius_mm",
    "contrast",
    "vis_anterior",
    "vis_posterior",
)


@dataclass(frozen=True)
class Patient:
    """Who a phantom is. All of it is invented; the id says so."""

    patient_id: str
    scan_id: str
    metastasis: int
    age: int
    sex: str
    primary_cancer: str


@dataclass(frozen=True)
class PhantomScan:
    """A phantom's scan and its truth.

    Attributes:
        patient: Who it is.
        scan: Two views, uint16 counts (1024, 256), 2.26 mm pixels.
        lesions: One row a finding, metastases and mimics: scan_id, lesion, kind, region, x_mm, y_mm, z_mm,
            radius_mm, contrast, vis_anterior, vis_posterior (peak over background).
        labels: Per view uint8 (1024, 256): n where the metastasis of row `lesion` n - 1 has at least half of its own
            peak (where two meet, the stronger one), 0 elsewhere.
        places: Per view uint8 (1024, 256): 1 + index in `uptake.PLACES` of what is hot outside bone.
        notes: Names of diffuse findings (prosthesis, Paget's disease, superscan, urine contamination, ...).
    """

    patient: Patient
    scan: Scan
    lesions: pd.DataFrame
    labels: dict[str, np.ndarray]
    places: dict[str, np.ndarray]
    notes: tuple[str, ...]

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """Per view bool (1024, 256): the pixels of all metastases."""
        return {view: labels > 0 for view, labels in self.labels.items()}


def draw_patient(seed: int, index: int) -> Patient:
    """Return patient `index` of cohort `seed`; of each two neighbours one has metastases, so halves balance."""
    first_is_positive = np.random.default_rng([seed, index // 2, 1]).random() < 0.5
    metastasis = int((index % 2 == 0) == first_is_positive)
    rng = np.random.default_rng([seed, index // 2, 2 + index % 2])
    primary = PRIMARIES[rng.choice(len(PRIMARIES), p=PRIMARY_CHANCE)]
    sex = "M" if rng.random() < MALE_CHANCE[primary] else "F"
    age = int(np.clip(round(rng.normal(*AGE[primary])), 22, 92))
    return Patient(f"PHANTOM-{seed}-{index:04d}", f"P{seed}-{index:04d}", metastasis, age, sex, primary)


def make_scan(seed: int, index: int, *, change: str = "") -> PhantomScan:
    """Return scan `index` of cohort `seed`: the same whatever else is made, in any order, on any number of workers.

    Args:
        seed: Cohort seed.
        index: Number of the scan.
        change: Empty for the scan as it is. `removed`: the same patient under the same camera without any metastasis.
            `inserted`: with metastases even if the patient has none. Such a scan is a counterfactual: it is
            nobody's, and belongs into no cohort.

    Raises:
        ValueError: `change` is none of these.
    """
    if change not in ("", "removed", "inserted"):
        raise ValueError(f"change must be '', 'removed' or 'inserted', got {change!r}")
    patient = draw_patient(seed, index)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    template = load_template(int(rng.integers(N_TEMPLATES)))
    activity, notes = _draw_background(rng, template, patient)
    exposure = camera.draw_exposure(rng)
    mimics = draw_mimics(rng, template, age=patient.age, sex=patient.sex)
    superscan = patient.metastasis == 1 and rng.random() < SUPERSCAN_CHANCE
    if superscan and change != "removed":
        activity, notes = _as_superscan(rng, activity), [*notes, "superscan"]
    picture = camera.Picture(
        template, activity, mimics, anterior_counts=exposure.anterior_counts, scatter=exposure.scatter
    )
    if patient.metastasis or change == "inserted":
        _add_metastases(rng, picture, patient.primary_cancer, n=draw_number(rng, superscan=superscan))
    if change == "removed":
        picture = picture.cleared()
    views = {
        name: View(name, camera.expose(rng, picture.image(v), exposure, view=v), (PIXEL_MM, PIXEL_MM), "view_code")
        for v, name in enumerate(VIEWS)
    }
    maps = {
        kind: {name: camera.expose_mask(of(v), exposure, view=v) for v, name in enumerate(VIEWS)}
        for kind, of in (("labels", picture.labels), ("places", picture.places))
    }
    scan = Scan(patient.scan_id, views["anterior"], views["posterior"])
    return PhantomScan(patient, scan, _truth_table(patient, picture), maps["labels"], maps["places"], tuple(notes))


def _add_metastases(rng: np.random.Generator, picture: camera.Picture, primary: str, *, n: int) -> None:
    """Put `n` metastases in, and up to six stronger ones while none can be seen."""
    strength = draw_strength(rng)
    for lesion in draw_metastases(rng, picture.template, primary, n, strength=strength):
        picture.add(lesion)
    for _ in range(MAX_EXTRA_LESIONS):
        if max(max(vis) for vis in picture.visibility) >= VISIBLE:
            return
        picture.add(draw_metastases(rng, picture.template, primary, 1, strength=1.8 * strength)[0])


def _truth_table(patient: Patient, picture: camera.Picture) -> pd.DataFrame:
    """Return one row a finding: metastases as they were added, then the mimics."""
    seen = [*zip(picture.lesions, picture.visibility, strict=True)]
    seen += [(mimic, picture.see(mimic)) for mimic in picture.mimics]
    rows = [
        (
            patient.scan_id,
            i,
            f.kind,
            f.region,
            *f.centre_mm.round(1),
            round(f.radius_mm, 2),
            round(f.contrast, 3),
            *np.round(vis, 3),
        )
        for i, (f, vis) in enumerate(seen)
    ]
    return pd.DataFrame(rows, columns=list(LESION_COLUMNS))


def _draw_background(rng: np.random.Generator, template: Template, patient: Patient) -> tuple[Activity, list[str]]:
    """Draw normal uptake, and what changes it in either class alike."""
    activity = draw_activity(rng, template, age=patient.age, sex=patient.sex)
    factor, notes = draw_diffuse(rng)
    pools = list(activity.pools)
    if rng.random() < 0.12 * BENIGN_FACTOR:
        place = template.landmarks["genital"] + [rng.normal(0, 45), -20, rng.uniform(-120, 40)]
        sigma, amount = (rng.uniform(4, 9), rng.uniform(4, 12)), float(np.exp(rng.normal(3.2, 0.7)))
        pools.append(Pool(place, sigma, amount, place="bladder"))
        notes.append("urine_contamination")
    if rng.random() < 0.06 * BENIGN_FACTOR:
        place = template.landmarks[("humerus_dist_l", "humerus_dist_r")[rng.integers(2)]] + rng.normal(0, 12, 3)
        sigma, amount = (rng.uniform(8, 14), rng.uniform(12, 30)), float(np.exp(rng.normal(6.3, 0.6)))
        pools.append(Pool(place, sigma, amount, place="injection_site"))
        notes.append("extravasation")
    return replace(activity, regions=activity.regions * factor, pools=tuple(pools)), notes


def _as_superscan(rng: np.random.Generator, activity: Activity) -> Activity:
    """Return the activity with more in all bones and less in the kidneys: disease everywhere."""
    organs = activity.organs.copy()
    organs[-2:] *= 0.4
    return replace(activity, regions=activity.regions * rng.uniform(1.3, 1.8), organs=organs)
