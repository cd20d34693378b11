"""Lesions: how many metastases of a phantom can be seen, for results by how much disease there is."""

from __future__ import annotations

import numpy as np
import pandas as pd

VISIBLE = 0.8
"""A lesion is visible where its peak over the background reaches this in at least one view."""

BANDS = ("0", "1-2", "3-6", "7 or more")
_EDGES = (0, 2, 6)

VISIBILITY_BANDS = ("0.8 to <1.5", "1.5 to <2.5", "2.5 or more")
_VISIBILITY_EDGES = (1.5, 2.5)

SKELETON = (
    "head", "cervical spine", "thoracic spine and sternum", "ribs and shoulder girdle", "lumbar spine",
    "pelvis and hips", "arms", "legs",
)  # fmt: skip
"""Regions of the skeleton, head to toes."""
_BONES = {
    "head": "calvarium skullbase face jaw", "cervical spine": "C", "lumbar spine": "L",
    "thoracic spine and sternum": "T manubrium sternum_body",
    "ribs and shoulder girdle": "rib costal_cartilage ccj clavicle clav_med acj scapula glenoid",
    "pelvis and hips": "sacrum sij ilium crest acetabulum ischiopubis femur_prox",
    "arms": "humerus radius ulna carpus metacarpus fingers",
}  # fmt: skip
"""Bones of a region by the beginning of their name; all others belong to the legs."""


def visible_lesions(lesions: pd.DataFrame, scan_ids: pd.Series) -> pd.Series:
    """Return the number of visible metastases of each scan, indexed by scan_id.

    Args:
        lesions: scan_id, kind, vis_anterior, vis_posterior; one row a finding.
        scan_ids: The scans to count for; one without findings has 0.
    """
    seen = lesions[["vis_anterior", "vis_posterior"]].astype(float).max(axis=1) >= VISIBLE
    counted = lesions[seen & (lesions["kind"] == "metastasis")].groupby("scan_id").size()
    counts = scan_ids.map(counted).fillna(0).astype(int)
    return pd.Series(counts.to_numpy(), index=pd.Index(scan_ids, name="scan_id"), name="visible_lesions")


def lesion_bands(counts: pd.Series) -> pd.Series:
    """Return the band of each count, one of `BANDS`, as an ordered category."""
    names = np.array(BANDS)[np.searchsorted(_EDGES, counts.to_numpy(), side="left")]
    bands = pd.Categorical(names, categories=list(BANDS), ordered=True)
    return pd.Series(bands, index=counts.index, name="visible_lesions")


def visibility_bands(visibility: pd.Series) -> pd.Series:
    """Return the band of each visible lesion's visibility, one of `VISIBILITY_BANDS`, as an ordered category."""
    names = np.array(VISIBILITY_BANDS)[np.searchsorted(_VISIBILITY_EDGES, visibility.to_numpy(float), side="right")]
    bands = pd.Categorical(names, categories=list(VISIBILITY_BANDS), ordered=True)
    return pd.Series(bands, index=visibility.index, name="visibility")


def skeletal_region(bone: str) -> str:
    """Return the region of the skeleton, one of `SKELETON`, of a region of a phantom, such as `rib07_l` or `L3`."""
    plain = bone.removesuffix("_l").removesuffix("_r").rstrip("0123456789")
    for region, names in _BONES.items():
        if plain in names.split() or plain.split("_")[0] in names.split():
            return region
    return "legs"


def peak_visibility(lesions: pd.DataFrame, scan_ids: pd.Series) -> pd.Series:
    """Return the visibility of each scan's most visible metastasis, NaN without one, indexed by scan_id.

    Args:
        lesions: scan_id, kind, vis_anterior, vis_posterior; one row a finding.
        scan_ids: The scans.
    """
    peaks = lesions[["vis_anterior", "vis_posterior"]].astype(float).max(axis=1)
    of_scan = peaks[lesions["kind"] == "metastasis"].groupby(lesions["scan_id"]).max()
    found = scan_ids.map(of_scan).astype(float)
    return pd.Series(found.to_numpy(), index=pd.Index(scan_ids, name="scan_id"), name="peak_visibility")
