"""Charts of localisation: what each map finds, beside maps that know nothing of the model."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from bonescan_utils.style import (
    BLUE,
    COLUMN_MM,
    GREY,
    PAGE_MM,
    VERMILION,
    add_footnote,
    check_columns,
    legend_above,
    new_figure,
    styled,
)
from bonescan_utils.wording import arm_text

REFERENCES = ("random", "body", "counts", "contrast")
"""Maps that know nothing of the model, drawn grey."""
PANELS = {"pointing": "Highest point in a lesion", "energy": "Share of the map in lesions", "auprc": "Pixel AUPRC"}
NAMES = {
    "counts": "count image",
    "contrast": "contrast of the image",
    "body": "even over the body",
    "random": "random",
    "focused_gradcam": "Grad-CAM x contrast",
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "layercam": "LayerCAM",
    "scorecam": "Score-CAM",
    "integrated_gradients": "integrated gradients",
    "smoothgrad": "SmoothGrad",
}


def map_text(name: str) -> str:
    """Return the name of a map as shown: `Grad-CAM`; of another arm `VGG16: Grad-CAM`."""
    arm, colon, method = name.rpartition(":")
    return f"{arm_text(arm)}: {NAMES.get(method, method)}" if colon else NAMES.get(name, name)


@styled
def plot_localisation(summary: pd.DataFrame, *, note: str = "") -> Figure | None:
    """Pointing, energy and pixel AUPRC of each map; another arm blue, references grey; None without truth.

    Args:
        summary: `map, measure, estimate, ci_low, ci_high, n` (`localisation.summary_table`).
        note: one more line at the foot.
    """
    if summary.empty:
        return None
    check_columns(summary, ["map", "measure", "estimate", "ci_low", "ci_high", "n"], "the table of localisation")
    maps = list(dict.fromkeys(summary["map"]))[::-1]
    fig = new_figure(PAGE_MM, 26 + 6 * len(maps))
    axes = fig.subplots(1, len(PANELS), sharey=True)
    for ax, (measure, title) in zip(axes, PANELS.items(), strict=True):
        rows = summary[summary["measure"] == measure].set_index("map")
        for place, name in enumerate(maps):
            row = rows.loc[name]
            colour = GREY if name in REFERENCES else BLUE if ":" in name else VERMILION
            ax.hlines(place, row["ci_low"], row["ci_high"], colors=colour)
            ax.plot(row["estimate"], place, "o", color=colour, markersize=4)
        ax.set(title=title, xlim=(-0.02, 1.02))
        sns.despine(ax=ax)
    axes[0].set_yticks(range(len(maps)), [map_text(name) for name in maps])
    scans = int(summary["n"].max())
    return add_footnote(fig, f"{scans} scans with visible lesions; 95 % intervals. Grey: without the model.", note)


@styled
def plot_froc(froc: pd.DataFrame, *, note: str = "") -> Figure | None:
    """Share of visible lesions found against false foci a scan, a line per map; None without truth.

    Args:
        froc: `map, false_foci, sensitivity, lesions, scans` (`localisation.froc_table`).
        note: one more line at the foot.
    """
    if froc.empty:
        return None
    check_columns(froc, ["map", "false_foci", "sensitivity", "lesions", "scans"], "the FROC table")
    shown = froc[~froc["map"].isin(["random", "body"])]
    fig = new_figure(COLUMN_MM, 78)
    ax = fig.subplots()
    colours = iter([VERMILION, BLUE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"])
    for name in dict.fromkeys(shown["map"]):
        rows = shown[shown["map"] == name]
        grey = name in REFERENCES
        ax.plot(
            rows["false_foci"], rows["sensitivity"], "o--" if grey else "o-", markersize=3, label=map_text(name),
            color=GREY if grey else next(colours), alpha=0.6 if name == "counts" else 1.0,
        )  # fmt: skip
    ax.set(xlabel="False foci a scan", ylabel="Visible lesions found", ylim=(-0.02, 1.02), xscale="log")
    ticks = sorted(shown["false_foci"].unique())
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    legend_above(fig, ax, columns=2)
    sns.despine(ax=ax)
    first = froc.iloc[0]
    return add_footnote(fig, f"{int(first['lesions'])} visible lesions, {int(first['scans'])} scans.", note)
