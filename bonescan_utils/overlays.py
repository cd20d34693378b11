"""Overlays: saliency maps over scans, beside the truth they are judged by."""

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

from bonescan_utils.pictures import GAP, Panel, Picture, as_panel, blank_axes, draw_panel
from bonescan_utils.style import BLUE, PAGE_MM, add_footnote, new_figure, styled

SALIENCY_COLOURS = "YlOrRd"


@dataclass(frozen=True)
class OverlayCase:
    """One scan of `plot_overlays`.

    Attributes:
        title: such as `s0417, score 0.97`.
        outcome: such as `Hit`, `Miss` or `False alarm`; cases of one outcome stand together.
        views: the scan, or its views; see `pictures.Picture`.
        saliency: view -> saliency map 0-1, of the shape of the view's picture.
        truth: view -> lesion mask (bool), of the shape of the view's picture; empty where truth is not known.
    """

    title: str
    outcome: str
    views: Picture
    saliency: Mapping[str, np.ndarray]
    truth: Mapping[str, np.ndarray] = field(default_factory=dict)


@styled
def plot_overlays(
    cases: Sequence[OverlayCase], *, columns: int = 3, method: str = "Grad-CAM", note: str = ""
) -> Figure:
    """Each scan twice: with its lesions outlined, and with the saliency map over it.

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
    panels = [as_panel(case.views) for case in cases]
    tallest = max(panel.height / (2 * panel.width) for panel in panels)
    width = PAGE_MM if columns > 1 else 120
    fig = new_figure(width, len(rows) * ((width - 18) / columns * tallest + 5) + 8)
    axes = blank_axes(fig, len(rows), columns)
    for line, row in zip(axes, rows, strict=True):
        line[0].set_ylabel(row[0].outcome, fontsize=7.5, fontweight="bold")
        for ax, case in zip(line, row, strict=False):
            _draw_case(ax, case, as_panel(case.views))
    scale = ScalarMappable(Normalize(0, 1), SALIENCY_COLOURS)
    bar = fig.colorbar(scale, ax=axes, shrink=min(1, 0.8 / len(rows)), aspect=22, pad=0.01)
    bar.set_label(f"{method} saliency", fontsize=6)
    bar.ax.tick_params(labelsize=6)
    if any(np.any(mask) for case in cases for mask in case.truth.values()):
        outline = Line2D([], [], color=BLUE, linewidth=0.9)
        fig.legend([outline], ["lesion (truth)"], loc="outside upper left", borderpad=0.2)
    return add_footnote(fig, note)


def _rows(cases: Sequence[OverlayCase], columns: int) -> list[list[OverlayCase]]:
    """Returns cases by outcome, in the order in which outcomes first occur, cut into rows."""
    by_outcome: dict[str, list[OverlayCase]] = {}
    for case in cases:
        by_outcome.setdefault(case.outcome, []).append(case)
    return [group[i : i + columns] for group in by_outcome.values() for i in range(0, len(group), columns)]


def _draw_case(ax: Axes, case: OverlayCase, panel: Panel) -> None:
    """Draws a scan with its truth, and to the right of it with its saliency."""
    for kind, maps in (("saliency", case.saliency), ("truth", case.truth)):
        for view, array in maps.items():
            expected = panel.views[view].shape if view in panel.views else "no such view"
            if np.shape(array) != expected:
                found = f"has shape {np.shape(array)}, expected {expected}"
                raise ValueError(f"{case.title}: {kind} of the {view} view {found}")
    draw_panel(ax, panel)
    for view, mask in case.truth.items():
        if np.any(mask):
            columns, rows = np.arange(mask.shape[1]) + 0.5, (np.arange(mask.shape[0]) + 0.5) * panel.stretch
            look: Any = {"levels": [0.5], "colors": [BLUE], "linewidths": 0.6}
            ax.contour(panel.starts[view] + columns, rows, mask, **look)
    second = panel.width * (1 + GAP)
    end = draw_panel(ax, panel, start=second)
    for view, saliency in case.saliency.items():
        left, (tall, wide) = second + panel.starts[view], np.shape(saliency)
        ax.imshow(overlay_colours(saliency), extent=(left, left + wide, tall * panel.stretch, 0), aspect="equal")
    ax.set(xlim=(0, end), ylim=(panel.height * 1.045, 0))
    ax.set_title(case.title, fontsize=6, fontweight="normal", loc="center", pad=3)


def overlay_colours(saliency: np.ndarray) -> np.ndarray:
    """Colours of a saliency map, uint8 `(rows, cols, 4)`: the weaker, the more of the scan shows through."""
    strength = np.clip(np.nan_to_num(saliency), 0, 1)
    colours = mpl.colormaps[SALIENCY_COLOURS](strength, bytes=True)
    colours[..., 3] = np.round(255 * 0.75 * np.sqrt(strength))
    return np.asarray(colours)
