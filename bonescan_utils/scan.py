"""Scan and View: one examination of one patient as counts.

This is the one form of an examination in memory: readers (`dicom`, `images`) make it, all else takes it.
Counts stay counts: nothing here scales, clips, inverts or flips them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bonescan_utils.files import safe_text

VIEWS = ("anterior", "posterior")
"""The two views, in the order in which they are shown and stored."""

VIEW_SOURCES = ("view_code", "manifest", "text", "frame_order", "file")
"""What told a reader which view an image is."""

MAX_PIXELS = 1 << 24
"""Pixels of one view that are read at most; a whole-body matrix has 1024 x 256 to 2048 x 512."""

MIN_SIDE = 16
MIN_ASPECT = 1.5
"""A whole-body matrix is at least this many times as high as wide (the usual 1024 x 256 is 4)."""

FEW_COUNTS = 100_000
"""Counts of a view below this are called too few; the guidelines ask for more than 1.5 million."""

BLOCKING = frozenset({"all_zero", "constant", "saturated", "half_empty", "inverted"})
"""Codes of `check_quality` that make a view unusable; the others are warnings."""

FULL_SCALES = (255, 4095, 32767, 65535)
CLIPPED, SATURATED = 0.001, 0.02  # share of the pixels at the highest value that 8, 12 or 16 bits hold


class ScanError(Exception):
    """A file or an image that cannot be used as a bone scan.

    Attributes:
        code: A short fixed word for the reason, such as `truncated`.
        reason: What was found and what was expected.
        path: The file, or '' if there is none.
        hint: What to do.
    """

    def __init__(self, code: str, reason: str, *, path: str | Path = "", hint: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = safe_text(reason, limit=260)
        self.path = str(path)
        self.hint = safe_text(hint, limit=120)

    def __str__(self) -> str:
        where = safe_text(self.path, limit=120)
        parts = [f"{where}:" if where else "", f"{self.reason}.", self.hint, f"[{self.code}]"]
        return " ".join(part for part in parts if part)

    def __reduce__(self) -> tuple[object, ...]:  # so that it survives the way back from a worker process
        return _scan_error, (self.code, self.reason, self.path, self.hint)

    def at(self, path: str | Path) -> ScanError:
        """Returns the same error with the file named, for checks that do not know it."""
        return ScanError(self.code, self.reason, path=self.path or path, hint=self.hint)


def _scan_error(code: str, reason: str, path: str, hint: str) -> ScanError:
    return ScanError(code, reason, path=path, hint=hint)


@dataclass(frozen=True, eq=False)
class View:
    """One image of a scan.

    Attributes:
        name: `anterior` or `posterior`.
        counts: (rows, columns) uint16, or int32 where a value does not fit; 0 or more, head up.
            Anterior is as seen from the front (patient left = image right), posterior as a gamma camera
            stores and shows it (patient left = image left).
        pixel_mm: (row, column) size of a pixel in mm, or None if unknown.
        view_source: What told which view it is, one of `VIEW_SOURCES`.

    Raises:
        ScanError: The image is no two-dimensional array of whole numbers >= 0, or a word is unknown.
    """

    name: str
    counts: np.ndarray
    pixel_mm: tuple[float, float] | None
    view_source: str

    def __post_init__(self) -> None:
        if self.name not in VIEWS:
            raise ScanError("view_unknown", f"view {self.name!r}; expected {' or '.join(VIEWS)}")
        if self.view_source not in VIEW_SOURCES:
            raise ScanError("view_unknown", f"view_source {self.view_source!r}; expected {VIEW_SOURCES}")
        object.__setattr__(self, "counts", as_counts(self.counts))
        if self.pixel_mm is not None:
            object.__setattr__(self, "pixel_mm", (float(self.pixel_mm[0]), float(self.pixel_mm[1])))

    @property
    def total(self) -> int:
        """The sum of the counts."""
        return int(self.counts.sum(dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Scan:
    """One examination of one patient: an anterior view, a posterior view, or both.

    Raises:
        ScanError: There is no view, or a view stands in the other's place.
    """

    scan_id: str
    anterior: View | None
    posterior: View | None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.anterior is None and self.posterior is None:
            raise ScanError("no_view", f"scan {self.scan_id}: neither an anterior nor a posterior view")
        for name in VIEWS:
            view = getattr(self, name)
            if view is not None and view.name != name:
                raise ScanError("view_unknown", f"scan {self.scan_id}: a {view.name} view given as {name}")

    @property
    def views(self) -> tuple[View, ...]:
        """The views that are present, anterior first."""
        return tuple(view for view in (self.anterior, self.posterior) if view is not None)


@dataclass(frozen=True)
class Reading:
    """What a reader found in a file or a pair of files: one or both views by name, and warnings."""

    views: dict[str, View]
    warnings: tuple[str, ...] = ()


def as_counts(array: np.ndarray) -> np.ndarray:
    """Returns a (rows, columns) array of whole numbers as uint16, or int32 where a value does not fit.

    Raises:
        ScanError: Wrong number of axes (`matrix`), not whole numbers (`not_counts`), below zero (`negative`)
            or beyond int32 (`not_counts`).
    """
    array = np.asarray(array)
    if array.ndim != 2 or 0 in array.shape:
        raise ScanError("matrix", f"an array of shape {array.shape}; expected (rows, columns)")
    if array.dtype.kind not in "ui":
        raise ScanError("not_counts", f"pixel values of type {array.dtype}; expected whole numbers")
    lowest, highest = int(array.min()), int(array.max())
    if lowest < 0:
        raise ScanError(
            "negative",
            f"{int((array < 0).sum()):,} pixels below zero (lowest {lowest}); counts are 0 or more",
            hint="Lossy compression or a subtraction does this: export the original image.",
        )
    if highest > np.iinfo(np.int32).max:
        raise ScanError("not_counts", f"a pixel value of {highest:,}; expected at most {2**31 - 1:,}")
    return np.ascontiguousarray(array, dtype=np.uint16 if highest <= 0xFFFF else np.int32)


def check_matrix(rows: int, columns: int) -> None:
    """Checks that a matrix may be that of a whole-body view.

    Raises:
        ScanError: It is too small, too large (`too_large`), or not high enough for its width (`matrix`).
    """
    if rows * columns > MAX_PIXELS:
        raise ScanError("too_large", f"{rows} x {columns} pixels; at most {MAX_PIXELS:,} are read")
    if min(rows, columns) < MIN_SIDE or rows < MIN_ASPECT * columns:
        raise ScanError(
            "matrix",
            f"a matrix of {rows} rows x {columns} columns; a whole-body view is {MIN_ASPECT} or more times"
            " as high as wide, such as 1024 x 256",
            hint="Give the whole-body acquisition, not a spot view or a screenshot.",
        )


def check_quality(view: View) -> list[tuple[str, str]]:
    """Looks for what makes a view unusable or doubtful.

    Returns:
        (code, text) of each finding. Unusable: `all_zero`; `constant`; `saturated` (more than 2 % of the
        pixels have the highest value that 8, 12 or 16 bits hold); `half_empty` (the upper, lower, left or
        right half has less than 1 % of the counts); `inverted` (the border is brighter than half of the
        99.9th percentile). Doubtful: `clipped` (as saturated, from 0.1 %); `too_few_counts` (below
        `FEW_COUNTS`).
    """
    counts, total, name = view.counts, view.total, view.name
    if total == 0:
        return [("all_zero", f"{name}: every pixel is 0")]
    if counts.min() == counts.max():
        return [("constant", f"{name}: every pixel is {counts.flat[0]}")]
    found = []
    top = int(counts.max())
    share = float((counts == top).mean())
    if top in FULL_SCALES and share > CLIPPED:
        code, limit = ("saturated", SATURATED) if share > SATURATED else ("clipped", CLIPPED)
        found.append((code, f"{name}: {share:.1%} of the pixels at {top}; limit {limit:.1%}"))
    half, part = _emptiest_half(counts, total)
    if part < 0.01:
        found.append(("half_empty", f"{name}: the {half} half holds {part:.2%} of the counts; limit 1 %"))
    border = float(np.median(np.concatenate([counts[0], counts[-1], counts[:, 0], counts[:, -1]])))
    bright = float(np.percentile(counts, 99.9))
    if border > 0.5 * bright:
        text = f"{name}: the border ({border:g}) is as bright as the body ({bright:g}): dark on white?"
        found.append(("inverted", text))
    if total < FEW_COUNTS:
        found.append(("too_few_counts", f"{name}: {total:,} counts; {FEW_COUNTS:,} or more are usual"))
    return found


def require_quality(scan: Scan) -> tuple[str, ...]:
    """Checks all views of a scan and returns what is doubtful, as texts.

    Raises:
        ScanError: A view is unusable, or both views have the same pixels (`same_views`).
    """
    findings = [finding for view in scan.views for finding in check_quality(view)]
    for code, text in findings:
        if code in BLOCKING:
            raise ScanError(code, text, hint="Export the original image again, or leave the scan out.")
    if scan.anterior and scan.posterior and np.array_equal(scan.anterior.counts, scan.posterior.counts):
        raise ScanError("same_views", "both views have the same pixels", hint="Name the right file for each.")
    return tuple(text for _, text in findings)


def _emptiest_half(counts: np.ndarray, total: int) -> tuple[str, float]:
    """Returns the name of the half of the image with the fewest counts, and its share of them."""
    row, column = counts.shape[0] // 2, counts.shape[1] // 2
    halves = {
        "upper": counts[:row],
        "lower": counts[counts.shape[0] - row :],
        "left": counts[:, :column],
        "right": counts[:, counts.shape[1] - column :],
    }
    shares = {name: float(half.sum(dtype=np.int64)) / total for name, half in halves.items()}
    name = min(shares, key=lambda key: shares[key])
    return name, shares[name]
