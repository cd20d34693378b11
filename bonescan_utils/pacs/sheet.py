"""Sheet: one view as a picture for a reading room: the scan, the saliency over it, and what is said, burned in.

Counts pixels are repeated, never resampled: every pixel of the overlay lies on the detector pixel it belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bonescan_utils.overlays import SALIENCY_COLOURS, overlay_colours
from bonescan_utils.pacs import PURPOSE_NOTICE, RESEARCH_NOTICE
from bonescan_utils.pictures import SHORT, SIDES
from bonescan_utils.scan import View

ROWS = 1024
"""A view with fewer rows is enlarged by a whole factor, up to about this many."""
MARGIN, GAP, MIN_WIDTH = 12, 12, 560
BAND, LINE = 68, 19
RED, BLACK, WHITE = (150, 0, 0), (0, 0, 0), (255, 255, 255)


@dataclass(frozen=True)
class Sheet:
    """A picture of a view.

    Attributes:
        pixels: uint8 (height, width, 3).
        factor: Pixels of the picture for one pixel of counts, in both directions.
    """

    pixels: np.ndarray
    factor: int


def draw_sheet(view: View, saliency: np.ndarray, lines: Sequence[str], *, darkest: float) -> Sheet:
    """Draw a view beside the same view under its saliency map, with the notice above and below.

    Args:
        view: The view, in counts.
        saliency: Saliency map on its pixels, (rows, columns), 0-1.
        lines: What is said of the scan, below the pictures; a line too long for the width is set smaller.
        darkest: Counts that are drawn black; the same for both views of a scan.

    Raises:
        ValueError: The map has not the shape of the view.
    """
    if saliency.shape != view.counts.shape:
        raise ValueError(f"saliency map {saliency.shape} and {view.name} view {view.counts.shape} differ in shape")
    factor = max(1, round(ROWS / view.counts.shape[0]))
    grey = np.repeat((255 * (1 - np.clip(view.counts / darkest, 0, 1))).astype(np.uint8)[..., None], 3, axis=2)
    panels = [_enlarged(picture, factor) for picture in (grey, _overlaid(grey, saliency))]
    height, width = panels[0].shape[:2]
    across = max(MIN_WIDTH, 2 * width + GAP + 2 * MARGIN)
    top, foot = BAND + LINE + 2, LINE * (len(lines) + 2)
    page = Image.new("RGB", (across, top + height + foot + LINE + 4), WHITE)
    pen = ImageDraw.Draw(page)
    _band(pen, 0, across, BAND, [(RESEARCH_NOTICE, 30), (PURPOSE_NOTICE, 15)])
    starts = [(across - 2 * width - GAP) // 2 + column for column in (0, width + GAP)]
    for start, panel, title in zip(starts, panels, ("scan", "scan and saliency (Grad-CAM)"), strict=True):
        page.paste(Image.fromarray(panel), (start, top))
        pen.rectangle((start - 1, top - 1, start + width, top + height), outline=(190, 190, 190))
        _mark(pen, view.name, start, width, top, title)
    _scale(pen, starts[1], width, top + height + 6)
    for number, line in enumerate(lines):
        _text(pen, MARGIN, top + height + LINE * (number + 1) + 8, line, across - 2 * MARGIN)
    _band(pen, page.height - LINE - 4, across, LINE + 4, [(RESEARCH_NOTICE, 15)])
    return Sheet(np.asarray(page), factor)


def _enlarged(picture: np.ndarray, factor: int) -> np.ndarray:
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _overlaid(grey: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """Return the saliency map's colours over a grey picture, uint8 (rows, columns, 3)."""
    colours = overlay_colours(saliency).astype(np.float32)
    share = colours[..., 3:] / 255
    return np.asarray(np.round(share * colours[..., :3] + (1 - share) * grey), dtype=np.uint8)


def _band(pen: ImageDraw.ImageDraw, top: int, across: int, height: int, lines: Sequence[tuple[str, int]]) -> None:
    """Draw a red band with lines (text, size) in its middle."""
    pen.rectangle((0, top, across, top + height - 1), fill=RED)
    room = sum(size for _, size in lines) + 4 * (len(lines) - 1)
    at = top + (height - room) // 2
    for text, size in lines:
        pen.text((across // 2, at), text, fill=WHITE, font=ImageFont.load_default(size), anchor="mt")
        at += size + 4


def _mark(pen: ImageDraw.ImageDraw, view: str, start: int, width: int, top: int, title: str) -> None:
    """Write the view and the patient's sides into the picture's upper corners, and a title above it."""
    pen.text((start + width // 2, top - 7), f"{SHORT[view]}, {title}", BLACK, ImageFont.load_default(13), anchor="ms")
    for side, place, anchor in zip(SIDES[view], (start + 5, start + width - 5), ("lt", "rt"), strict=True):
        pen.text((place, top + 5), side, BLACK, ImageFont.load_default(16), anchor=anchor)


def _scale(pen: ImageDraw.ImageDraw, start: int, width: int, top: int) -> None:
    """Draw the scale of the saliency, 0 to 1, below the overlay."""
    colours = mpl.colormaps[SALIENCY_COLOURS](np.linspace(0, 1, max(2, width - 40)), bytes=True)
    for column, colour in enumerate(colours):
        pen.line((start + 20 + column, top, start + 20 + column, top + 9), fill=tuple(int(v) for v in colour[:3]))
    for text, place in (("0", start + 8), ("1", start + width - 8)):
        pen.text((place, top + 5), text, BLACK, ImageFont.load_default(13), anchor="mm")


def _text(pen: ImageDraw.ImageDraw, left: int, top: int, text: str, room: int) -> None:
    """Write a line, as much smaller as it needs to fit; past 9 points it is cut, and the cut is shown."""
    font = next(
        (f for f in map(ImageFont.load_default, (15, 14, 13, 12, 11, 10, 9)) if f.getlength(text) <= room), None
    )
    font = font or ImageFont.load_default(9)
    while font.getlength(text) > room:
        text = text.rstrip(".")[:-1] + "..."
    pen.text((left, top), text, fill=BLACK, font=font)
