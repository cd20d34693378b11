"""Style: the one look of all figures (size, palette, how an arm is drawn, footnote), and how one is saved."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.text import Text

from bonescan_utils.files import write_atomic
from bonescan_utils.wording import arm_text, format_interval, is_pretrained

COLUMN_MM, PAGE_MM = 84, 174
"""Widths of a column and of a page of a journal, in mm."""

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#8A8A8A"
"""The Okabe-Ito palette (its yellow is too light for lines on white) and a grey for what is not data."""
REFERENCE_LINE: Any = {"color": GREY, "linewidth": 0.6, "linestyle": (0, (1, 2))}
"""Dotted line of chance, of perfect calibration, of prevalence."""
LABEL_COLOURS = {0: GREY, 1: VERMILION}
LABEL_TEXT = {0: "no metastasis", 1: "metastasis"}

ARM_COLOURS = {"proposed": VERMILION, "vgg16": BLUE, "resnet50": GREEN} | {
    "xception": PURPLE, "densenet121": ORANGE, "inceptionv3": SKY,
}  # fmt: skip
SPARE_COLOURS = (BLACK, "#7F3C8D", "#3969AC", "#80BA5A", "#A5AA99", "#CF1C90")

STYLE: Any = {
    **sns.axes_style("ticks"),
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: figures look the same on every machine
    "font.size": 7.0,
    "axes.labelsize": 7.0,
    "axes.titlesize": 7.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": 6.5,
    "legend.title_fontsize": 6.5,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "figure.dpi": 150,
    "savefig.dpi": 200,
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,  # text stays text, in fonts that journals accept
}
PHANTOM_NOTE = "Synthetic phantom cohort - not clinical data"
FOOTNOTE = "footnote"
FOOTNOTE_POINTS = 5.5

Weights = Mapping[str, Any]
"""Arm -> kind of weights it started from: `imagenet`, `imagenet-int8`, `imagenet-unverified` or `random`."""
P = ParamSpec("P")
R = TypeVar("R")


def styled(plot: Callable[P, R]) -> Callable[P, R]:
    """Makes a function draw in the study's style and leaves the caller's settings alone."""

    @wraps(plot)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(STYLE):
            return plot(*args, **kwargs)

    return drawn


def new_figure(width_mm: float, height_mm: float) -> Figure:
    """Returns an empty figure of that size that no pyplot state holds on to."""
    fig = plt.figure(figsize=(width_mm / 25.4, height_mm / 25.4), layout="constrained")
    plt.close(fig)  # a notebook shows the figure once, as the cell's value
    return fig


def grid_of(n: int, columns: int) -> tuple[int, int]:
    """Returns rows and columns for `n` panels, at most `columns` side by side."""
    columns = max(1, min(n, columns))
    return -(-n // columns), columns


def check_columns(table: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    """Raises a ValueError unless `table` has rows and the columns."""
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ValueError(f"{what} lacks column(s) {', '.join(missing)}; it has {', '.join(map(str, table.columns))}")
    if table.empty:
        raise ValueError(f"{what} has no rows: there is nothing to draw")


# -------------------------------------------------------------------------------------------------- arms
def arms_of(table: pd.DataFrame) -> list[str]:
    """Returns the arms of a table in their order."""
    return list(dict.fromkeys(table["arm"]))


def metric_row(metrics: pd.DataFrame, arm: str, metric: str) -> pd.Series:
    """Returns the row of one arm and metric, or raises a ValueError."""
    rows = metrics[(metrics["arm"] == arm) & (metrics["metric"] == metric)]
    if len(rows) != 1:
        raise ValueError(f"metrics must have one row {metric} of arm {arm!r}, found {len(rows)}")
    return rows.iloc[0]


def interval_text(row: pd.Series) -> str:
    """Returns `0.93 (0.90–0.96)`, with the en dash of print."""
    return format_interval(row["estimate"], row["ci_low"], row["ci_high"]).replace("-", "\N{EN DASH}")


def arm_style(arm: str, arms: Sequence[str], weights: Weights) -> dict[str, Any]:
    """Returns colour, line and label of an arm: the same in every figure, dashed without pretrained weights.

    A fine-tuned or multi-level arm has the colour of its backbone, drawn dash-dotted where the frozen arm is shown too.
    """
    base = arm.partition("_")[0]
    unknown = [name for name in arms if name.partition("_")[0] not in ARM_COLOURS]
    spare = SPARE_COLOURS[unknown.index(arm) % len(SPARE_COLOURS)] if arm in unknown else BLACK
    pretrained = is_pretrained(arm, weights)
    twin = base != arm and base in arms
    return {
        "color": ARM_COLOURS.get(base, spare),
        "linestyle": ("-." if twin else "-") if pretrained else (":" if twin else "--"),
        "linewidth": 1.8 if arm == "proposed" else 1.1,
        "label": arm_label(arm, weights),
        "zorder": 3 if arm == "proposed" else 2,
    }


def arm_label(arm: str, weights: Weights) -> str:
    """Returns an arm's name, marked where it did not start from pretrained weights."""
    return arm_text(arm) + ("" if is_pretrained(arm, weights) else " (random init)")


# ----------------------------------------------------------------------------------------- axes and notes
def unit_square(ax: Axes, x: str, y: str) -> None:
    """Makes axes from 0 to 1 both ways, square, with room for lines that run along the frame."""
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y, aspect="equal")
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])


def legend_above(fig: FigureBase, ax: Axes, *, columns: int) -> None:
    """Puts the legend of `ax` above all panels, where it can cover nothing."""
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=columns, borderpad=0.2)


def hide_empty(fig: Figure) -> None:
    """Hides the panels of a grid that hold nothing, and frames the others on two sides."""
    for ax in fig.axes:
        ax.set_visible(ax.has_data())
    sns.despine(fig=fig)


def add_footnote(fig: Figure, *notes: str) -> Figure:
    """Adds lines at the foot of a figure, below everything else; a line already there is not repeated."""
    old = [text for text in fig.texts if text.get_gid() == FOOTNOTE]
    lines = old[0].get_text().split("\n") if old else []
    width = int(fig.get_figwidth() * 72 / (FOOTNOTE_POINTS * 0.56))  # mean width of a letter: 0.56 em
    for note in notes:
        lines += [line for line in textwrap.wrap(note, width) if line not in lines]
    if lines:
        text = old[0] if old else _footnote_text(fig)
        text.set_text("\n".join(lines))
        height = (len(lines) * 1.35 + 0.6) * FOOTNOTE_POINTS / 72 / fig.get_figheight()
        engine = fig.get_layout_engine()
        if engine is not None:
            engine.set(rect=(0, height, 1, 1 - height))  # type: ignore[call-arg]
    return fig


def _footnote_text(fig: Figure) -> Text:
    """Makes the empty text that holds a figure's footnote."""
    height = 2.5 / 72 / fig.get_figheight()
    return fig.text(
        0.01, height, "", gid=FOOTNOTE, ha="left", va="bottom", fontsize=FOOTNOTE_POINTS, color="#444444",
        linespacing=1.2,
    )  # fmt: skip


def save_figure(fig: Figure, path: str | Path, *, note: str = "") -> tuple[Path, Path]:
    """Writes a figure as PNG (200 dpi) and PDF (text as text), atomically.

    The bytes depend on the figure and the versions of the libraries only: no date, no creator is written.

    Args:
        fig: The figure; `note` is added to its footnote.
        path: Where to, without suffix.
        note: One more line at the foot, such as `Synthetic phantom cohort - not clinical data`.

    Returns:
        The paths of the PNG and of the PDF.
    """
    path = Path(path)
    add_footnote(fig, note)
    targets = path.with_name(path.name + ".png"), path.with_name(path.name + ".pdf")
    no_metadata = {"Software": None}, {"Creator": None, "Producer": None, "CreationDate": None}
    with mpl.rc_context(STYLE):
        for target, metadata in zip(targets, no_metadata, strict=True):
            with write_atomic(target) as temporary:
                fig.savefig(temporary, format=target.suffix[1:], metadata=metadata)
    return targets
