"""Pictures: whole-body scans as they are read: reversed grey (hot is dark), aspect true, sides marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bonescan_utils.scan import VIEWS, Scan, View
from bonescan_utils.style import PAGE_MM, add_footnote, grid_of, new_figure, styled

Picture = Scan | Mapping[str, Any] | np.ndarray
"""A scan; or view -> `View` or array `(rows, cols)`; or one array with the anterior view in its left half.

Arrays are counts, or 0-255 as uint8. A pixel is square unless a `View` says otherwise."""

SHORT = {"anterior": "ANT", "posterior": "POST"}
SIDES = {"anterior": ("R", "L"), "posterior": ("L", "R")}
"""Patient's side at the left and at the right edge of the picture of a view."""
WINDOW = 99.0
"""Percentile of the filled pixels that is drawn black: above it are bladder and injection site."""
GAP = 0.06
"""Space between two views, as a share of a view's width."""


class Panel(NamedTuple):
    """What is drawn of one scan.

    Attributes:
        views: view -> array `(rows, cols)`, anterior first.
        stretch: height of a pixel over its width.
    """

    views: dict[str, np.ndarray]
    stretch: float

    @property
    def height(self) -> float:
        """Height of the taller view, in widths of a pixel."""
        return max(array.shape[0] for array in self.views.values()) * self.stretch

    @property
    def starts(self) -> dict[str, float]:
        """The column at which each view begins, with a gap between views."""
        widths = [array.shape[1] * (1 + GAP) for array in self.views.values()]
        return {view: sum(widths[:place]) for place, view in enumerate(self.views)}

    @property
    def width(self) -> float:
        """Width of the views side by side, in pixels."""
        view, start = list(self.starts.items())[-1]
        return start + self.views[view].shape[1]


# ----------------------------------------------------------------------------------------------- figures
@styled
def plot_montage(images: Sequence[Picture], titles: Sequence[str], *, columns: int = 6, note: str = "") -> Figure:
    """Scans side by side, each with both views.

    Args:
        images: the scans; see `Picture`.
        titles: a line (or two) above each scan.
        columns: scans side by side, at most.
        note: one more line at the foot.

    Raises:
        ValueError: Not one title per scan, no scan, or something that is no picture.
    """
    if len(images) != len(titles) or not len(images):
        found = f"{len(images)} and {len(titles)}"
        raise ValueError(f"images and titles must be equally many and at least one, got {found}")
    rows, across = grid_of(len(images), columns)
    panels = [as_panel(image) for image in images]
    cell = PAGE_MM / columns
    fig = new_figure(max(cell * across, 50), rows * (cell * _tallest(panels) + 9) + 4)
    axes = blank_axes(fig, rows, across)
    for ax, panel, title in zip(axes.flat, panels, titles, strict=False):
        draw_panel(ax, panel)
        ax.set_title(title, fontsize=5.5, fontweight="normal", loc="center", pad=3)
    return add_footnote(fig, note)


@styled
def plot_before_after(
    before: Sequence[Picture], after: Sequence[Picture], titles: Sequence[str], *, note: str = ""
) -> Figure:
    """Scans as they were acquired (above) and as the models see them (below).

    Args:
        before: the scans in counts; see `Picture`.
        after: the same scans, prepared.
        titles: a line above each scan.
        note: one more line at the foot.

    Raises:
        ValueError: The three are not equally many, or there is none.
    """
    if not len(before) == len(after) == len(titles) > 0:
        found = f"{len(before)}, {len(after)} and {len(titles)}"
        raise ValueError(f"before, after and titles must be equally many and at least one, got {found}")
    rows = [[as_panel(image) for image in images] for images in (before, after)]
    cell = min((PAGE_MM - 6) / len(titles), 45)
    fig = new_figure(cell * len(titles) + 6, sum(cell * _tallest(row) for row in rows) + 14)
    axes = blank_axes(fig, 2, len(titles))
    for line, panels, name in zip(axes, rows, ("Counts as acquired", "Input of the models"), strict=True):
        for ax, panel in zip(line, panels, strict=True):
            draw_panel(ax, panel)
        line[0].set_ylabel(name, fontsize=7, fontweight="bold")
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=6, fontweight="normal", loc="center")
    return add_footnote(fig, note)


# ---------------------------------------------------------------------------------------------- one scan
def as_panel(image: Picture) -> Panel:
    """Returns the views of a scan as arrays, and the shape of their pixels.

    Raises:
        ValueError: It is no picture: a view is unknown or has not the shape `(rows, cols)`.
    """
    if isinstance(image, Scan):
        image = {view.name: view for view in image.views}
    elif isinstance(image, np.ndarray) and image.ndim == 2:
        half = image.shape[1] // 2
        image = {"anterior": image[:, :half], "posterior": image[:, half:]}
    if not isinstance(image, Mapping) or not image or set(image) - set(VIEWS):
        found = f"shape {image.shape}" if isinstance(image, np.ndarray) else f"{list(image)}"
        raise ValueError(f"expected a scan, a picture (rows, cols) or a mapping of {VIEWS}, got {found}")
    sizes = [view.pixel_mm for view in image.values() if isinstance(view, View) and view.pixel_mm]
    given = {view: image[view] for view in VIEWS if view in image}
    arrays = {view: np.asarray(x.counts if isinstance(x, View) else x) for view, x in given.items()}
    for view, array in arrays.items():
        if array.ndim != 2 or not array.size:
            raise ValueError(f"{view} view must have shape (rows, cols), got {array.shape}")
    return Panel(arrays, sizes[0][0] / sizes[0][1] if sizes else 1.0)


def draw_panel(ax: Axes, panel: Panel, *, start: float = 0) -> float:
    """Draws the views of a scan side by side, one grey scale for both, and returns where they end.

    Args:
        ax: axes whose unit is the width of a pixel.
        panel: the views.
        start: column at which the first view begins.
    """
    look: Any = {"cmap": "gray_r", "vmin": 0, "vmax": darkest(panel.views), "interpolation": "antialiased"}
    mark: Any = {"fontsize": 5, "color": "#333333", "va": "top"}
    for view, column in panel.starts.items():
        rows, cols = panel.views[view].shape
        left, tall = start + column, rows * panel.stretch
        ax.imshow(panel.views[view], extent=(left, left + cols, tall, 0), aspect="equal", **look)
        ax.text(left + 0.03 * cols, 0.005 * tall, SIDES[view][0], ha="left", **mark)
        ax.text(left + 0.97 * cols, 0.005 * tall, SIDES[view][1], ha="right", **mark)
        ax.text(left + 0.5 * cols, 1.005 * tall, SHORT[view], ha="center", **mark)
    end = start + panel.width
    ax.set(xlim=(0, end), ylim=(panel.height * 1.045, 0), xticks=[], yticks=[])
    return end


def darkest(views: Mapping[str, np.ndarray]) -> float:
    """Returns the value drawn black: 255 for prepared pictures, else a high percentile of the filled pixels."""
    if all(array.dtype == np.uint8 for array in views.values()):
        return 255.0
    filled = np.concatenate([array[array > 0].ravel() for array in views.values()])
    return max(1.0, float(np.percentile(filled, WINDOW))) if len(filled) else 1.0


def blank_axes(fig: Figure, rows: int, columns: int) -> np.ndarray:
    """Returns axes `(rows, columns)` without ticks and frames."""
    axes = fig.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[], frame_on=False)
    return axes


def _tallest(panels: Sequence[Panel]) -> float:
    """Height over width of the scan that is tallest for its width, room for the names of the views added."""
    return max(panel.height / panel.width for panel in panels) * 1.045
