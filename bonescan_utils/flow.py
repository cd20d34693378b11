"""Flow: the diagram of how many scans entered the study, were left out and why (STARD, CLAIM item 33)."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from bonescan_utils.style import PAGE_MM, add_footnote, check_columns, new_figure, styled

WRAP = 46
"""Letters to a line in a box."""
LINE = 3.4
"""Height of a line of text, in mm."""
COLUMN, ASIDE, WIDE = 44.0, 132.0, 76.0
"""Middle of the column of boxes, middle of what was left out, width of a box, in mm."""
INK = "#333333"
STROKE: Any = {"color": INK, "linewidth": 0.7}


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
            raise ValueError(f"flow does not add up: groups sum to {total}, but {last['step']!r} has {last['n']}")


def check_accounted(given: Iterable[str], ends: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Checks that everything that was given ended in exactly one place.

    Args:
        given: Ids of what was given, such as the scans of the manifest.
        ends: Where they ended, such as `cohort.csv`, and the ids that are there.

    Returns:
        How many ended where; they add up to the number given.

    Raises:
        RuntimeError: One was given twice, was lost, doubled, or came from nowhere; a fault of this program.
    """
    due = Counter(map(str, given))
    seen: dict[str, str] = {}
    for place, ids in ends.items():
        for name in map(str, ids):
            if name in seen:
                raise RuntimeError(f"{name} is in {seen[name]} and {place}: counted twice")
            if name not in due:
                raise RuntimeError(f"{name} is in {place} and not in the manifest")
            seen[name] = place
    lost = [name for name, times in due.items() if name not in seen or times > 1]
    if lost:
        where = "is given twice" if due[lost[0]] > 1 else f"is in none of {', '.join(ends)}"
        raise RuntimeError(f"{lost[0]} of the manifest {where}; {len(lost)} in all")
    return {place: sum(end == place for end in seen.values()) for place in ends}


@styled
def plot_flow(flow: pd.DataFrame, groups: pd.DataFrame | None = None, *, note: str = "") -> Figure:
    """Draws the flow of scans: a column of boxes, exclusions to the right, the groups at the foot.

    Args:
        flow: `step, n, excluded, reason`; see `check_flow`. Several reasons are separated by `;`.
        groups: `group, n`, and `n_positive` if known: what the last box divides into, such as the partitions.
        note: one more line at the foot.

    Raises:
        ValueError: The boxes do not add up.
    """
    check_flow(flow, groups)
    steps = flow.to_dict("records")
    asides = [_aside(step) for step in steps]
    texts = [f"{_wrapped(step['step'])}\n(n = {step['n']:,})" for step in steps]
    gaps = [0.0, *(max(8.0, _tall(text) + 3) if text else 6.0 for text in asides[1:])]
    foot = 0.0 if groups is None else 10 + _tall("\n" * 2)
    height = sum(map(_tall, texts)) + sum(gaps) + foot
    fig = new_figure(PAGE_MM, height + 10)
    ax = fig.subplots()
    ax.set(xlim=(0, PAGE_MM), ylim=(-height - 1, 1), aspect="equal")
    ax.axis("off")
    y, column = 0.0, COLUMN if any(asides) else PAGE_MM / 2
    for text, aside, gap in zip(texts, asides, gaps, strict=True):
        if gap:
            _arrow(ax, (column, y), (column, y - gap))
        if gap and aside:
            _arrow(ax, (column, y - gap / 2), (ASIDE - WIDE / 2, y - gap / 2))
            _box(ax, ASIDE, y - gap / 2 + _tall(aside) / 2, WIDE, aside, aside=True)
        y -= gap
        _box(ax, column, y, WIDE, text)
        y -= _tall(text)
    if groups is not None:
        _branches(ax, groups, y, column)
    return add_footnote(fig, note)


def _wrapped(text: object) -> str:
    parts = [] if text is None or text != text else str(text).split(";")  # NaN is not itself
    return "\n".join(line for part in parts for line in textwrap.wrap(part.strip(), WRAP))


def _aside(step: dict) -> str:
    """What was left out on the way to a step; '' if nothing."""
    return f"Excluded (n = {step['excluded']:,})\n{_wrapped(step['reason'])}".strip() if step["excluded"] else ""


def _tall(text: str) -> float:
    """Height of the box of a text, in mm."""
    return (text.count("\n") + 1) * LINE + 3.5


def _branches(ax: Axes, groups: pd.DataFrame, top: float, column: float) -> None:
    """Draws the parts of the last box, whose middle is at `column`, side by side, joined by one line."""
    width = min(WIDE, (PAGE_MM - 4 * (len(groups) + 1)) / len(groups))
    places = [4 + width / 2 + place * (width + 4) for place in range(len(groups))]
    bus = top - 5
    ax.plot([column, column], [top, bus], **STROKE)
    ax.plot([min(*places, column), max(*places, column)], [bus, bus], **STROKE)
    for x, row in zip(places, groups.to_dict("records"), strict=True):
        lines = [f"{row['group']} (n = {row['n']:,})"]
        if "n_positive" in row:
            lines += [f"{row['n_positive']:,} with metastasis", f"{row['n'] - row['n_positive']:,} without"]
        _arrow(ax, (x, bus), (x, bus - 5))
        _box(ax, x, bus - 5, width, "\n".join(lines))


def _box(ax: Axes, x: float, top: float, wide: float, text: str, *, aside: bool = False) -> None:
    """Draws a text in a box whose upper edge has its middle at `(x, top)`, in mm."""
    tall, left = _tall(text), x - wide / 2
    look: Any = {"boxstyle": "round,pad=0,rounding_size=1", "facecolor": "#F4F4F4" if aside else "white"}
    ax.add_patch(FancyBboxPatch((left, top - tall), wide, tall, edgecolor=INK, linewidth=0.7, **look))
    place = (left + 2.5, "left") if aside else (x, "center")
    ax.text(place[0], top - tall / 2, text, ha=place[1], va="center", fontsize=6.5, linespacing=1.3)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    look: Any = {"arrowstyle": "-|>", "linewidth": 0.7, "color": INK, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=look)
