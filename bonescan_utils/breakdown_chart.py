"""Breakdown chart: what each map finds by number of lesions, by visibility and by region of the skeleton."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bonescan_utils.localisation_chart import map_text
from bonescan_utils.style import (
    BLUE,
    GREEN,
    GREY,
    PAGE_MM,
    VERMILION,
    add_footnote,
    check_columns,
    legend_above,
    new_figure,
    styled,
)

PANELS = {
    "pointing": "Highest point in a lesion",
    "energy": "Share of the map in lesions",
    "lesion_sensitivity": "Lesions found",
}
COUNTED = {"pointing": "scans", "energy": "scans", "lesion_sensitivity": "lesions"}
TITLES = {"visible_lesions": "Visible lesions", "visibility": "Visibility", "region": "Region"}
SPREAD = 0.5
"""Room that the maps of one group share, in rows."""


@styled
def plot_breakdown(breakdown: pd.DataFrame, *, shown: Sequence[str], note: str = "") -> Figure | None:
    """Pointing, energy and lesion-wise sensitivity by group, a dot and its interval per map; None without truth.

    Args:
        breakdown: `map, factor, group, measure, estimate, ci_low, ci_high, n` (`breakdown.breakdown_table`).
        shown: The maps, at most three; the last is drawn grey.
        note: One more line at the foot.
    """
    if breakdown.empty:
        return None
    columns = ["map", "factor", "group", "measure", "estimate", "ci_low", "ci_high", "n"]
    check_columns(breakdown, columns, "the table of localisation by group")
    maps = [name for name in shown if name in set(breakdown["map"])]
    places = _places(breakdown)
    height = max(place for place, _ in places.values()) + 1
    fig = new_figure(PAGE_MM, 30 + 5.2 * height)
    axes = fig.subplots(1, len(PANELS), sharey=True)
    for ax, (measure, title) in zip(axes, PANELS.items(), strict=True):
        rows = breakdown[breakdown["measure"] == measure].set_index(["map", "factor", "group"])
        for number, name in enumerate(maps):
            colour = [VERMILION, BLUE, GREEN][number] if number < len(maps) - 1 or len(maps) == 1 else GREY
            offset = SPREAD * ((number + 0.5) / len(maps) - 0.5)
            _draw(ax, rows.loc[[name]].droplevel("map"), places, offset, colour, map_text(name))
        _write_sizes(ax, rows.loc[maps[:1]].droplevel("map"), places, COUNTED[measure])
        ax.set(title=title, xlim=(-0.02, 1.02), ylim=(height - 0.4, -0.6))
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
        ax.tick_params(axis="y", length=0)
    labels = dict(places.values())
    labels |= {min(p for (f, _), (p, _) in places.items() if f == factor) - 1: title for factor, title in TITLES.items()
               if any(f == factor for f, _ in places)}  # fmt: skip
    axes[0].set_yticks(list(labels), list(labels.values()))
    for label in axes[0].get_yticklabels():
        label.set_fontweight("bold" if label.get_text() in TITLES.values() else "normal")
    legend_above(fig, axes[0], columns=3)
    sns.despine(fig=fig, left=True)
    foot = "A scan counts in the group of its most prominent lesion. Lesions found: at one false focus a scan."
    return add_footnote(fig, foot, "Lines: 95 % intervals. No dot: fewer than ten patients, too few to say.", note)


def _places(breakdown: pd.DataFrame) -> dict[tuple[str, str], tuple[float, str]]:
    """Return row and text of each group, with a row left free for the name of each factor."""
    places: dict[tuple[str, str], tuple[float, str]] = {}
    at = 0.0
    for factor, rows in breakdown.drop_duplicates(["factor", "group"]).groupby("factor", sort=False):
        at += factor in TITLES
        for group in rows["group"]:
            places[str(factor), str(group)] = (at, str(group))
            at += 1
    return places


def _draw(
    ax: Axes,
    rows: pd.DataFrame,
    places: dict[tuple[str, str], tuple[float, str]],
    offset: float,
    colour: str,
    name: str,
) -> None:
    """Draw one map's estimates with their intervals."""
    known = rows[rows["estimate"].notna()]
    at = [places[key][0] + offset for key in known.index]
    ax.hlines(at, known["ci_low"], known["ci_high"], colors=colour, linewidth=1)
    ax.plot(known["estimate"], at, "o", color=colour, markersize=3, label=name)


def _write_sizes(ax: Axes, rows: pd.DataFrame, places: dict[tuple[str, str], tuple[float, str]], what: str) -> None:
    """Write the number of scans, or lesions, of each group at the right of a panel, below what is counted."""
    lines = {-0.7: what} | {place: f"{float(rows['n'].loc[key]):,.0f}" for key, (place, _) in places.items()}
    for place, text in lines.items():
        ax.text(1.01, place, text, transform=ax.get_yaxis_transform(), va="center", fontsize=5.5)
    ax.grid(axis="x", linewidth=0.3, color="#DDDDDD")
