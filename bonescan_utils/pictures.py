"""Pictures: whole-body scans as they are read: reversed grey (hot is dark), aspect true, sides marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bonescan_utils.scan import VIEWS
from bonescan_utils.style import BLUE, PAGE_MM, add_footnote, grid_of, new_figure, styled

Views = Mapping[str, np.ndarray]
"""View -> picture `(rows, cols)`: counts, or 0-255 as uint8."""

SHORT = {"anterior": "ANT", "posterior": "POST"}
SIDES = {"anterior": ("R", "L"), "posterior": ("L", "R")}
"""Patient's side at the left and at the right edge of the picture of a view."""
WINDOW = 99.7
"""Percentile of the filled pixels that is drawn black: above it are bladder and injection site."""
SALIENCY_COLOURS = "YlOrRd"
GAP = 0.06
"""Space between two views, as a share of a view's width."""


@dataclass(frozen=True)
class OverlayCase:
    """One scan of `plot_overlays`.

    Attributes:
        title: such as `s0417, score 0.97`.
        outcome: such as `Hit`, `Miss` or `False alarm`; cases of one outcome stand together.
        views: view -> picture.
        saliency: view -> saliency map 0-1 of the picture's shape.
        truth: view -> lesion mask (bool) of the picture's shape; empty where there is no truth.
    """

    title: str
    outcome: str
    views: Views
    saliency: Views
    truth: Views = field(default_factory=dict)


@styled
def plot_montage(
    images: Sequence[Views | np.ndarray], titles: Sequence[str], *, columns: int = 6, note: str = ""
) -> Figure:
    """Scans side by side, each with both views.

    Args:
        images: for each scan its views, or one picture with the anterior view in the left half.
        titles: a line (or two) above each scan.
        columns: scans side by side, at most.
        note: one more line at the foot.

    Raises:
        ValueError: Not one title per scan, no scan, or a picture that is not `(rows, cols)`.
    """
    if len(images) != len(titles) or not len(images):
        raise ValueError(
            f"images and titles must be equally many and at least one, got {len(images)} and {len(titles)}"
        )
    rows, across = grid_of(len(images), columns)
    pairs = [as_views(image) for image in images]
    fig = new_figure(PAGE_MM * across / columns, rows * (PAGE_MM / columns * _aspect(pairs) + 9))
    axes = fig.subplots(rows, across, squeeze=False)
    _blank(axes)
    for ax, views, title in zip(axes.flat, pairs, titles, strict=False):
        draw_views(ax, views)
        ax.set_title(title, fontsize=5.5, fontweight="normal", loc="center", pad=3)
    return add_footnote(fig, note)


@styled
def plot_before_after(
    before: Sequence[Views], after: Sequence[Views | np.ndarray], titles: Sequence[str], *, note: str = ""
) -> Figure:
    """Scans as they were acquired (above) and as the models see them (below).

    Args:
        before: for each scan its views in counts.
        after: for each scan the prepared picture, or its views.
        titles: a line above each scan.
        note: one more line at the foot.

    Raises:
        ValueError: The three are not equally many, or there is none.
    """
    if not len(before) == len(after) == len(titles) > 0:
        raise ValueError(
            "before, after and titles must be equally many and at least one,"
            f" got {len(before)}, {len(after)} and {len(titles)}"
        )
    rows = [[as_views(image) for image in images] for images in (before, after)]
    cell = min(PAGE_MM / len(titles), 50)
    fig = new_figure(cell * len(titles) + 6, sum(cell * min(_aspect(row), 2.4) for row in rows) + 14)
    axes = fig.subplots(2, len(titles), squeeze=False)
    _blank(axes)
    for line, views_of, name in zip(axes, rows, ("Counts as acquired", "Input of the models"), strict=True):
        for ax, views in zip(line, views_of, strict=True):
            draw_views(ax, views)
        line[0].set_ylabel(name, fontsize=7, fontweight="bold")
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=6, fontweight="normal", loc="center")
    return add_footnote(fig, note)


@styled
def plot_overlays(
    cases: Sequence[OverlayCase], *, columns: int = 3, method: str = "Grad-CAM", note: str = ""
) -> Figure:
    """Saliency over both views, and beside it the plain scan with the lesion truth outlined.

    Args:
        cases: the scans; those of one outcome share a row (or several).
        columns: scans side by side.
        method: name of the saliency method, for the colour bar.
        note: one more line at the foot, such as the arm, its backbone and its starting weights.

    Raises:
        ValueError: There is no case, or a map has not the shape of its picture.
    """
    if not cases:
        raise ValueError("there is no case to draw")
    rows = _rows(cases, columns)
    fig = new_figure(PAGE_MM, len(rows) * ((PAGE_MM - 14) / columns * 1.02 + 5) + 8)
    axes = fig.subplots(len(rows), columns, squeeze=False)
    _blank(axes)
    for line, row in zip(axes, rows, strict=True):
        line[0].set_ylabel(row[0].outcome, fontsize=7.5, fontweight="bold")
        for ax, case in zip(line, row, strict=False):
            _draw_case(ax, case)
    _keys(fig, axes, method, truth=any(len(case.truth) for case in cases))
    return add_footnote(fig, note)


# ------------------------------------------------------------------------------------------ one picture
def as_views(image: Views | np.ndarray) -> dict[str, np.ndarray]:
    """Returns the views of a picture, anterior first; a single picture is halved, anterior left.

    Raises:
        ValueError: It is no picture `(rows, cols)`, or names no view.
    """
    if isinstance(image, np.ndarray) and image.ndim == 2:
        half = image.shape[1] // 2
        return {"anterior": image[:, :half], "posterior": image[:, half:]}
    if not isinstance(image, Mapping) or not set(image) or set(image) - set(VIEWS):
        found = f"shape {image.shape}" if isinstance(image, np.ndarray) else f"views {list(image)}"
        raise ValueError(f"expected a picture (rows, cols) or a mapping of {VIEWS} to such, got {found}")
    views = {view: np.asarray(image[view]) for view in VIEWS if view in image}
    for view, picture in views.items():
        if picture.ndim != 2:
            raise ValueError(f"{view} view must have shape (rows, cols), got {picture.shape}")
    return views


def draw_views(ax: Axes, views: Mapping[str, np.ndarray], *, start: float = 0) -> float:
    """Draws the views of a scan side by side from column `start`, one grey scale for both; returns the end.

    Args:
        ax: axes whose unit is a pixel of the picture.
        views: view -> counts, or 0-255 as uint8.
        start: column at which the first view begins.
    """
    darkest = _darkest(views)
    for view, picture in views.items():
        rows, cols = picture.shape
        place = (start, start + cols, rows, 0)
        ax.imshow(
            picture,
            cmap="gray_r",
            vmin=0,
            vmax=darkest,
            extent=place,
            aspect="equal",
            interpolation="antialiased",
        )
        at: Any = {"fontsize": 5, "color": "#333333", "va": "top"}
        ax.text(start + 0.03 * cols, 0.005 * rows, SIDES[view][0], ha="left", **at)
        ax.text(start + 0.97 * cols, 0.005 * rows, SIDES[view][1], ha="right", **at)
        ax.text(start + 0.5 * cols, 1.005 * rows, SHORT[view], ha="center", **at)
        start += cols * (1 + GAP)
    end = start - cols * GAP
    _frame(ax, end, max(picture.shape[0] for picture in views.values()))
    return end


def _darkest(views: Mapping[str, np.ndarray]) -> float:
    """The value drawn black: 255 for prepared pictures, else a high percentile of the filled pixels."""
    if all(picture.dtype == np.uint8 for picture in views.values()):
        return 255.0
    filled = np.concatenate([picture[picture > 0].ravel() for picture in views.values()])
    return max(1.0, float(np.percentile(filled, WINDOW))) if len(filled) else 1.0


def _frame(ax: Axes, width: float, height: float) -> None:
    """Shows the picture from its first to its last pixel, with room for the names of the views."""
    ax.set(xlim=(0, width), ylim=(height * 1.045, 0), xticks=[], yticks=[], frame_on=False)


def _blank(axes: np.ndarray) -> None:
    """Clears the axes that may stay empty of ticks and frames."""
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[], frame_on=False)


def _aspect(pairs: Sequence[Mapping[str, np.ndarray]]) -> float:
    """Height over width of the tallest scan."""
    return max(
        max(p.shape[0] for p in views.values()) / sum(p.shape[1] for p in views.values()) for views in pairs
    )


# --------------------------------------------------------------------------------------------- overlays
def _rows(cases: Sequence[OverlayCase], columns: int) -> list[list[OverlayCase]]:
    """Cases by outcome, in the order in which outcomes first occur, cut into rows."""
    by_outcome: dict[str, list[OverlayCase]] = {}
    for case in cases:
        by_outcome.setdefault(case.outcome, []).append(case)
    return [group[i : i + columns] for group in by_outcome.values() for i in range(0, len(group), columns)]


def _draw_case(ax: Axes, case: OverlayCase) -> None:
    """Draws a scan twice: with the truth, then with the saliency."""
    views = as_views(case.views)
    for kind, maps in (("saliency", case.saliency), ("truth", case.truth)):
        for view, mask in maps.items():
            if view not in views or mask.shape != views[view].shape:
                expected = views[view].shape if view in views else "no such view"
                raise ValueError(
                    f"{case.title}: {kind} of the {view} view has shape {mask.shape}, expected {expected}"
                )
    middle = draw_views(ax, views)
    for view, start in _starts(views, 0).items():
        if np.any(case.truth.get(view, False)):
            rows, cols = views[view].shape
            ax.contour(
                start + np.arange(cols) + 0.5, np.arange(rows) + 0.5, case.truth[view], levels=[0.5],
                colors=[BLUE], linewidths=0.6,
            )  # fmt: skip
    middle += 2 * GAP * middle
    end = draw_views(ax, views, start=middle)
    for view, start in _starts(views, middle).items():
        if view in case.saliency:
            rows, cols = views[view].shape
            ax.imshow(
                _transparent(case.saliency[view]), extent=(start, start + cols, rows, 0), aspect="equal"
            )
    _frame(ax, end, max(picture.shape[0] for picture in views.values()))
    ax.set_title(case.title, fontsize=6, fontweight="normal", loc="center", pad=3)


def _starts(views: Mapping[str, np.ndarray], start: float) -> dict[str, float]:
    """The column at which each view begins."""
    widths = np.cumsum([0, *(picture.shape[1] * (1 + GAP) for picture in views.values())])[:-1]
    return {view: start + float(width) for view, width in zip(views, widths, strict=True)}


def _transparent(saliency: np.ndarray) -> np.ndarray:
    """Colours of a saliency map `(rows, cols, 4)`: the weaker, the more of the scan shows through."""
    strength = np.clip(np.nan_to_num(saliency), 0, 1)
    colours = mpl.colormaps[SALIENCY_COLOURS](strength)
    colours[..., 3] = 0.75 * np.sqrt(strength)
    return colours


def _keys(fig: Figure, axes: np.ndarray, method: str, *, truth: bool) -> None:
    """Adds the colour bar of the saliency and the key of the truth."""
    scale = ScalarMappable(Normalize(0, 1), SALIENCY_COLOURS)
    bar = fig.colorbar(scale, ax=axes, shrink=min(1, 0.8 / len(axes)), aspect=22, pad=0.01)
    bar.set_label(f"{method} saliency", fontsize=6)
    bar.ax.tick_params(labelsize=6)
    if truth:
        fig.legend([Line2D([], [], color=BLUE, linewidth=0.8)], ["lesion truth"], loc="outside upper left")
