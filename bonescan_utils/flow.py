"""Flow: the diagram of how many scans entered the study, were left out and why (STARD, CLAIM item 33)."""

from __future__ import annotations

import textwrap
from itertools import pairwise

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from bonescan_utils.style import PAGE_MM, add_footnote, check_columns, new_figure, styled

WRAP = 42
"""Letters to a line in a box."""


def check_flow(flow: pd.DataFrame, groups: pd.DataFrame | None = None) -> None:
    """Checks the arithmetic of a flow diagram.

    Args:
        flow: `step, n, excluded, reason`, a row per box from the top: `n` scans are left after `excluded` of
            the box above were left out for `reason`.
        groups: `group, n`: the parts the last box divides into.

    Raises:
        ValueError: The numbers do not add up; the text says where.
    """
    check_columns(flow, ["step", "n", "excluded", "reason"], "the flow table")
    steps = flow.to_dict("records")
    for above, below in pairwise(steps):
        if above["n"] - below["excluded"] != below["n"]:
            raise ValueError(
                f"flow does not add up at {below['step']!r}: {above['n']} - {below['excluded']} excluded"
                f" = {above['n'] - below['excluded']}, but the box says {below['n']}"
            )
    if groups is not None:
        check_columns(groups, ["group", "n"], "the table of groups")
        total, last = groups["n"].sum(), steps[-1]
        if total != last["n"]:
            raise ValueError(
                f"flow does not add up: groups sum to {total}, but {last['step']!r} has {last['n']}"
            )


@styled
def plot_flow(flow: pd.DataFrame, groups: pd.DataFrame | None = None, *, note: str = "") -> Figure:
    """Draws the flow of scans: a column of boxes, exclusions to the right, the groups at the foot.

    Args:
        flow: `step, n, excluded, reason`; see `check_flow`. Reasons may be several, separated by `;`.
        groups: `group, n`, and `n_positive` if known: what the last box divides into, such as the partitions.
        note: one more line at the foot.

    Raises:
        ValueError: The boxes do not add up.
    """
    check_flow(flow, groups)
    steps = flow.to_dict("records")
    heights = [_lines(step) * 3.6 + 4 for step in steps]
    gap, below = 9.0, (0.0 if groups is None else 21.0)
    height = sum(heights) + gap * (len(steps) - 1) + below + 4
    fig = new_figure(PAGE_MM, height + 6)
    ax = fig.subplots()
    ax.set(xlim=(0, PAGE_MM), ylim=(-height, 2))
    ax.axis("off")
    top = 0.0
    for place, (step, tall) in enumerate(zip(steps, heights, strict=True)):
        _box(ax, 45, top, 80, tall, f"{_wrapped(step['step'])}\n(n = {step['n']:,})")
        if place:
            _arrow(ax, (45, top + gap), (45, top))
            _exclusion(ax, step, top + gap / 2, tall)
        top -= tall + gap
    if groups is not None:
        _branches(ax, groups, top + gap)
    return add_footnote(fig, note)


def _wrapped(text: object) -> str:
    return "\n".join(line for part in str(text).split(";") for line in textwrap.wrap(part.strip(), WRAP))


def _exclusion_text(step: dict) -> str:
    reason = _wrapped(step["reason"]) if step["reason"] and step["reason"] == step["reason"] else ""
    return f"Excluded (n = {step['excluded']:,})" + (f"\n{reason}" if reason else "")


def _lines(step: dict) -> int:
    """Lines of the taller of a step's two boxes."""
    return max(_wrapped(step["step"]).count("\n") + 2, _exclusion_text(step).count("\n") + 1)


def _exclusion(ax: Axes, step: dict, y: float, tall: float) -> None:
    """Draws what was left out on the way to a step, beside the arrow that leads there."""
    if step["excluded"]:
        text = _exclusion_text(step)
        high = (text.count("\n") + 1) * 3.6 + 3
        _arrow(ax, (45, y), (96, y))
        _box(ax, 133, y + high / 2, 74, high, text, left=True)


def _branches(ax: Axes, groups: pd.DataFrame, top: float) -> None:
    """Draws the parts of the last box side by side."""
    n = len(groups)
    width = min(50.0, (PAGE_MM - 4 - 4 * (n - 1)) / n)
    for place, row in enumerate(groups.to_dict("records")):
        x = 5 + width / 2 + place * (width + 4)
        split = (
            [f"{row['n_positive']:,} with metastasis", f"{row['n'] - row['n_positive']:,} without"]
            if "n_positive" in row
            else []
        )
        _arrow(ax, (min(max(x, 8), 82), top), (x, top - 6))
        _box(ax, x, top - 6, width, 15, "\n".join([f"{row['group']} (n = {row['n']:,})", *split]))


def _box(ax: Axes, x: float, top: float, wide: float, tall: float, text: str, *, left: bool = False) -> None:
    """Draws a box whose top centre is at `(x, top)`, in mm, with its text."""
    frame = FancyBboxPatch(
        (x - wide / 2, top - tall), wide, tall, boxstyle="round,pad=0,rounding_size=1", linewidth=0.7,
        edgecolor="#333333", facecolor="#F7F7F7" if left else "white",
    )  # fmt: skip
    ax.add_patch(frame)
    at = x - wide / 2 + 2.5 if left else x
    ax.text(
        at, top - tall / 2, text, ha="left" if left else "center", va="center", fontsize=6.5, linespacing=1.3
    )


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    ax.annotate(
        "",
        end,
        start,
        arrowprops={"arrowstyle": "-|>", "linewidth": 0.7, "color": "#333333", "shrinkA": 0, "shrinkB": 0},
    )
