"""Pixels: counts, saliency maps and truth as the 8-bit pictures that a screen shows. No figures, no widgets."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation

from bonescan_utils.overlays import SALIENCY_COLOURS

TRUTH_COLOUR = (0, 114, 178)
"""`style.BLUE`: the truth has the same colour in figures and on the screen."""
LEVELS_PER_ROOT = 1.5
"""Levels of a stored picture for each unit of the root of the counts.

A root has the same noise at any count (standard deviation 0.5), so one level is 1.3 standard deviations of the
noise everywhere, and what rounding adds (0.39 standard deviations) lies below the noise.
Source: Anscombe, Biometrika 1948, 35:246.
"""
REDUCED = 4
"""Pixels of a view along a side of one pixel of a stored saliency map."""


class Window(NamedTuple):
    """What is drawn white and what is drawn black, in counts."""

    white: float
    black: float


def grey(counts: np.ndarray, window: Window) -> np.ndarray:
    """Return counts (rows, columns) as reversed grey uint8: `window.white` and below is 255, `window.black` is 0."""
    width = max(window.black - window.white, 1e-6)
    share = np.clip((counts.astype(np.float32) - window.white) / width, 0, 1)
    return np.round(255 * (1 - share)).astype(np.uint8)


def overlaid(picture: np.ndarray, saliency: np.ndarray, *, opacity: float) -> np.ndarray:
    """Lay a saliency map over a picture; the weaker, the more of the picture shows through.

    Args:
        picture: Grey (rows, columns), uint8.
        saliency: Map (rows, columns), 0-1.
        opacity: Share of the map's colour where the map is 1; it falls with the root of the map.

    Returns:
        (rows, columns, 3) uint8.
    """
    strength = np.clip(saliency, 0, 1)
    alpha = (opacity * np.sqrt(strength))[..., None]
    colours = saliency_colours()[np.round(255 * strength).astype(np.uint8)]
    return np.round(alpha * colours + (1 - alpha) * picture[..., None]).astype(np.uint8)


def outlined(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Draw a line two pixels wide round a mask (rows, columns) on a picture, grey or (rows, columns, 3) uint8."""
    coloured = np.stack([picture] * 3, axis=-1) if picture.ndim == 2 else picture.copy()
    coloured[binary_dilation(mask, iterations=2) & ~mask] = TRUTH_COLOUR
    return coloured


@cache
def saliency_colours() -> np.ndarray:
    """Return the colours of saliency 0/255, 1/255, ..., 1 as (256, 3) uint8."""
    return np.asarray(mpl.colormaps[SALIENCY_COLOURS](np.arange(256), bytes=True))[:, :3]


def encoded(picture: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    """Return a picture, uint8 (rows, columns) or (rows, columns, 3), as the bytes of a file."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format=kind, **options)
    return stream.getvalue()


def root_levels(counts: np.ndarray) -> tuple[np.ndarray, float]:
    """Return counts as levels of their root.

    Returns:
        Levels uint8 (rows, columns), and levels per unit of the root: (level / that) ** 2 gives the counts back.
    """
    root = np.sqrt(counts.astype(np.float64))
    per_root = min(LEVELS_PER_ROOT, 255 / max(float(root.max()), 1e-6))
    return np.round(root * per_root).astype(np.uint8), per_root


def reduced(saliency: np.ndarray) -> np.ndarray:
    """Return a saliency map 0-1 (rows, columns) as uint8, `REDUCED` times smaller: each pixel is a mean."""
    rows, columns = saliency.shape
    size = max(1, -(-columns // REDUCED)), max(1, -(-rows // REDUCED))
    small = Image.fromarray(saliency.astype(np.float32)).resize(size, Image.Resampling.BOX)
    return np.round(255 * np.clip(np.asarray(small), 0, 1)).astype(np.uint8)


def outline_path(mask: np.ndarray) -> str:
    """Return the border of a mask (rows, columns) as an SVG path along the edges of its pixels; '' if it is empty."""
    padded = np.pad(np.asarray(mask, bool), 1)
    level = [f"M{start} {row}H{stop}" for row, start, stop in _runs(padded[1:] ^ padded[:-1])]
    upright = [f"M{column} {start}V{stop}" for column, start, stop in _runs((padded[:, 1:] ^ padded[:, :-1]).T)]
    return "".join(level + upright)


def _runs(edges: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Give (line, start, stop) of each run of True along the lines of a padded array, counted without the padding."""
    for line in np.flatnonzero(edges.any(axis=1)):
        steps = np.flatnonzero(np.diff(edges[line].astype(np.int8)))
        for start, stop in steps.reshape(-1, 2):
            yield int(line), int(start), int(stop)
