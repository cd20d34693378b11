"""Landmarks: where bladder, injection sites and background lie in a view, told from the body's outline alone.

All lengths are shares of the body's height in the picture, head to toes, so that no pixel size is needed. The places
are assumptions of average anatomy with the arms beside the body; on phantoms, whose truth is known, they hold
(`tests/test_landmarks.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from bonescan_utils.preprocessing import body_mask
from bonescan_utils.scan import View

BLADDER_ROW = 0.45
BLADDER_HALF = (0.042, 0.05)
"""Middle of the bladder below the top of the head, and the half axes (down, across) of the ellipse around it."""

ARM_ROWS = (0.26, 0.56)
ARM_OFFSETS = (0.077, 0.095)
"""Elbow to finger tips: rows below the top of the head, and how far from the midline the arm begins at either end."""

BODY_MARGIN = 0.02
"""What lies further than this from the body is background: beyond collimator blur, and most of the scatter."""

TRUNK_ROWS = (0.2, 0.5)


@dataclass(frozen=True)
class Frame:
    """The body's own measure of a view.

    Attributes:
        top: First row of the body.
        middle: Column of the midline: the median of the trunk's pixels.
        height: Rows from head to toes.
        width: Columns that are as long as `height`.
    """

    top: float
    middle: float
    height: float
    width: float

    def places(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return how far below its top (rows, 1) and right of its midline (1, columns) pixels lie, in body heights."""
        down = (np.arange(shape[0])[:, None] + 0.5 - self.top) / self.height
        return down, (np.arange(shape[1])[None] + 0.5 - self.middle) / self.width


def frame_of(view: View) -> Frame:
    """Return the frame of a view's body.

    Raises:
        ScanError: The view shows no body.
    """
    mask = body_mask(view.counts)
    rows = np.flatnonzero(mask.any(axis=1))
    top, height = float(rows[0]), float(rows[-1] + 1 - rows[0])
    trunk = mask[int(top + TRUNK_ROWS[0] * height) : int(top + TRUNK_ROWS[1] * height) + 1]
    row_mm, column_mm = view.pixel_mm or (1.0, 1.0)
    return Frame(top, float(np.median(np.nonzero(trunk)[1])) + 0.5, height, height * row_mm / column_mm)


def bladder(view: View) -> np.ndarray:
    """Return the region of the bladder, bool (rows, columns); the sacrum's tip and the pubic bones lie in it too."""
    down, across = frame_of(view).places(_shape(view))
    return np.asarray(((down - BLADDER_ROW) / BLADDER_HALF[0]) ** 2 + (across / BLADDER_HALF[1]) ** 2 < 1)


def injection_sites(view: View) -> np.ndarray:
    """Return where tracer is injected, bool (rows, columns): both arms from the elbow down.

    Not the hottest place alone: a faint injection site is no hotter than the wrists.
    """
    down, across = frame_of(view).places(_shape(view))
    along = (down - ARM_ROWS[0]) / (ARM_ROWS[1] - ARM_ROWS[0])
    begins = ARM_OFFSETS[0] + along * (ARM_OFFSETS[1] - ARM_OFFSETS[0])
    return (along >= 0) & (along < 1) & (abs(across) >= begins)


def background(view: View) -> np.ndarray:
    """Return what is not body, bool (rows, columns), a margin around the body left out."""
    frame, body = frame_of(view), body_mask(view.counts)
    spacing = (1 / frame.height, 1 / frame.width)
    return np.asarray(ndi.distance_transform_edt(~body, sampling=spacing) > BODY_MARGIN)


def _shape(view: View) -> tuple[int, int]:
    return view.counts.shape[0], view.counts.shape[1]
