"""Montage: viewed scans as a still figure, for notebooks that nobody looks on and for print."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from bonescan_utils.overlays import OverlayCase, plot_overlays
from bonescan_utils.viewer.viewed import OUTCOMES, ViewedScan, methods_of
from bonescan_utils.wording import arm_text, format_number


def plot_viewed(scans: Sequence[ViewedScan], *, method: str = "", each: int = 3, note: str = "") -> Figure:
    """Draw scans of each outcome, plain with their truth, and with the saliency map; of the first scan's arm only.

    Args:
        scans: The scans; of each outcome some are drawn, at even distances in this order.
        method: The saliency method; the first there is if not given. A scan without its map is drawn plain.
        each: Scans of an outcome at most; they stand side by side.
        note: One more line at the foot.

    Raises:
        ValueError: There is no scan.
    """
    if not scans:
        raise ValueError("there is no scan to draw: give at least one ViewedScan")
    mine = [scan for scan in scans if scan.arm == scans[0].arm]
    method = method or next(iter(methods_of(mine)), "")
    drawn = [scan for outcome in OUTCOMES for scan in _spread([x for x in mine if x.outcome == outcome], each)]
    cases = [
        OverlayCase(
            title=f"{scan.scan_id}, score {format_number(scan.y_score)}",
            outcome=scan.outcome,
            views=scan.scan,
            saliency=scan.map_by_view(method),
            truth=scan.truth or {},
        )
        for scan in drawn
    ]
    foot = f"Arm {arm_text(mine[0].arm)}, threshold {format_number(mine[0].threshold)}. {note}".strip()
    return plot_overlays(cases, columns=each, method=method or "no", note=foot)


def _spread(scans: Sequence[ViewedScan], n: int) -> list[ViewedScan]:
    """Return at most `n` scans at even distances, the first and the last among them."""
    places = np.unique(np.linspace(0, len(scans) - 1, min(n, len(scans))).round().astype(int))
    return [scans[place] for place in places]
