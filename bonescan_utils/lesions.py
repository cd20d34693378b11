"""Lesions: how many metastases of a phantom can be seen, for results by how much disease there is."""

from __future__ import annotations

import numpy as np
import pandas as pd

VISIBLE = 0.8
"""A lesion is visible where its peak over the background reaches this in at least one view."""

BANDS = ("0", "1-2", "3-6", "7 or more")
_EDGES = (0, 2, 6)


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
