"""Viewed scans: what the viewer shows of one scan and one arm: counts, score, outcome, saliency maps, truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from bonescan_utils.scan import VIEWS, Scan

HIT, MISS, FALSE_ALARM, CORRECT_REJECTION = "Hit", "Miss", "False alarm", "Correct rejection"
OUTCOMES = (HIT, MISS, FALSE_ALARM, CORRECT_REJECTION)
"""In the order in which they are shown."""


class MapOfScan(Protocol):
    """A saliency map of one scan, such as `explanation.Explained`; its views may be made when they are asked for."""

    @property
    def raw_max(self) -> float:
        """The map's maximum before it was scaled to 1, in logits."""

    def by_view(self) -> Mapping[str, np.ndarray]:
        """Return view -> map on the view's counts pixels, (rows, columns), 0-1."""


@dataclass(frozen=True, eq=False)
class ViewMaps:
    """A saliency map as plain arrays.

    Attributes:
        views: View -> map on the view's counts pixels, (rows, columns), 0-1.
        raw_max: The map's maximum before it was scaled to 1, in logits.
    """

    views: Mapping[str, np.ndarray]
    raw_max: float

    def by_view(self) -> Mapping[str, np.ndarray]:
        """Return the maps."""
        return self.views


@dataclass(frozen=True, eq=False)
class ViewedScan:
    """A scan as one arm judged it.

    Attributes:
        scan: The scan, in counts.
        arm: The arm.
        y_true: Reference label, 0 or 1.
        y_score: The arm's score, 0-1.
        threshold: The arm's threshold; `y_score >= threshold` calls metastasis.
        primary: Primary cancer; '' if unknown.
        maps: Method -> saliency map.
        truth: View -> lesion mask, bool, on the view's counts pixels; None where truth is not known.

    Raises:
        ValueError: A mask has not the shape of its view.
    """

    scan: Scan
    arm: str
    y_true: int
    y_score: float
    threshold: float
    primary: str = ""
    maps: Mapping[str, MapOfScan] = field(default_factory=dict)
    truth: Mapping[str, np.ndarray] | None = None

    def __post_init__(self) -> None:
        for view, mask in (self.truth or {}).items():
            self._check(f"truth of the {view} view", view, mask)

    @property
    def scan_id(self) -> str:
        """The scan's id."""
        return self.scan.scan_id

    @property
    def outcome(self) -> str:
        """One of `OUTCOMES`."""
        return outcome_of(self.y_true, self.y_score, self.threshold)

    @property
    def counts(self) -> dict[str, np.ndarray]:
        """View -> counts (rows, columns), anterior first; views that are missing are left out."""
        return {view.name: view.counts for view in self.scan.views}

    @property
    def stretch(self) -> float:
        """Height of a pixel over its width; 1 if unknown."""
        sizes = [view.pixel_mm for view in self.scan.views if view.pixel_mm]
        return sizes[0][0] / sizes[0][1] if sizes else 1.0

    def map_by_view(self, method: str) -> dict[str, np.ndarray]:
        """Return view -> saliency map float32 (rows, columns), 0-1; empty where the method has none of this scan.

        Raises:
            ValueError: A map has not the shape of its view, or a value that is not within 0-1.
        """
        made = self.maps[method].by_view() if method in self.maps else {}
        maps = {view: np.asarray(array, np.float32) for view, array in made.items()}
        for view, array in maps.items():
            self._check(f"{method} map of the {view} view", view, array)
            low, high = float(array.min()), float(array.max())
            if not (low >= 0 and high <= 1.001):  # NaN fails too; enlarging may overshoot by rounding
                what = f"{method} map of the {view} view has values {low:g} to {high:g}"
                raise ValueError(f"scan {self.scan_id}: {what}; expected 0-1")
        return {view: maps[view] for view in VIEWS if view in maps}

    def _check(self, what: str, view: str, array: np.ndarray) -> None:
        """Raise a ValueError unless an array has the shape of a view."""
        counts = self.counts.get(view)
        expected = "no such view" if counts is None else counts.shape
        if np.shape(array) != expected:
            raise ValueError(f"scan {self.scan_id}: {what} has shape {np.shape(array)}; expected {expected}")


def outcome_of(y_true: int, y_score: float, threshold: float) -> str:
    """Return the outcome, one of `OUTCOMES`, of a scan at an operating point."""
    if y_score >= threshold:
        return HIT if y_true else FALSE_ALARM
    return MISS if y_true else CORRECT_REJECTION


def methods_of(scans: Iterable[ViewedScan]) -> list[str]:
    """Return the methods that have a map of any of the scans, in the order in which they first occur."""
    return list(dict.fromkeys(method for scan in scans for method in scan.maps))


def largest_raw(scans: Iterable[ViewedScan], arm: str, method: str) -> float:
    """Return the largest maximum, in logits, of an arm's maps by one method; 0 where there is none.

    On a scale that ends there, the maps of different scans can be compared.
    """
    tops = [scan.maps[method].raw_max for scan in scans if scan.arm == arm and method in scan.maps]
    return float(max(tops, default=0.0))
