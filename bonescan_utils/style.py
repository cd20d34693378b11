"""Style: the one look of all figures (size, palette, how an arm is drawn, footnote), and how one is saved."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
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
from PIL import Image

from bonescan_utils.files import write_bytes
from bonescan_utils.wording import arm_text, format_interval, is_pretrained

COLUMN_MM, PAGE_MM = 84, 174
"""Widths of a column and of a page, in mm, that figures are made for unless a journal is chosen."""

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
    "svg.fonttype": "none",  # text stays text here too
    "text.parse_math": False,  # a dollar sign in a manifest is a dollar sign
    "svg.hashsalt": "bonescan",  # else the ids in the file differ from run to run
}
PHANTOM_NOTE = "Synthetic phantom cohort - not clinical data"
FOOTNOTE = "footnote"
FOOTNOTE_POINTS = 6.0

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


@dataclass(frozen=True)
class Journal:
    """A publisher's figures: its `title`, and the widths in mm that a figure may have, narrowest first."""

    title: str
    widths_mm: tuple[float, ...]

    def fitted(self, width_mm: float) -> float:
        """Returns the narrowest width that is no less than what is asked for on a column or page of ours, in mm."""
        asked = width_mm * self.widths_mm[-1] / PAGE_MM if width_mm > COLUMN_MM else self.widths_mm[0]
        return next((width for width in self.widths_mm if width >= asked - 0.5), self.widths_mm[-1])


JOURNALS = {
    "elsevier": Journal("Elsevier", (90, 140, 190)),
    "springer": Journal("Springer", (84, 174)),
    "nature": Journal("Nature", (89, 183)),
}
"""Widths of a column, of a column and a half where there is such, and of a page, by the publishers' artwork guides."""
TALLEST = 1.1
"""A figure grows no higher than by this with the journal's width: letters stay as large as they are."""
_journal: ContextVar[Journal | None] = ContextVar("journal", default=None)


@contextmanager
def widths_of(journal: str) -> Iterator[Journal]:
    """Draws every figure of the block at a width of a journal, a key of `JOURNALS`."""
    token = _journal.set(JOURNALS[journal])
    try:
        yield JOURNALS[journal]
    finally:
        _journal.reset(token)


def new_figure(width_mm: float, height_mm: float) -> Figure:
    """Returns an empty figure of that size, or of the journal's width, that no pyplot state holds on to."""
    journal = _journal.get()
    width = journal.fitted(width_mm) if journal else width_mm
    height = height_mm * min(max(width / width_mm, 1.0), TALLEST)
    fig = plt.figure(figsize=(width / 25.4, height / 25.4), layout="constrained")
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


def dot_style(arm: str, arms: Sequence[str], weights: Weights) -> dict[str, Any]:
    """Returns how the estimate of an arm is drawn: a dot, hollow without pretrained weights."""
    colour = arm_style(arm, arms, weights)["color"]
    face = colour if is_pretrained(arm, weights) else "white"
    return {"marker": "o", "linestyle": "", "color": colour, "markerfacecolor": face, "markersize": 4.2}


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
    width = int(fig.get_figwidth() * 72 / (FOOTNOTE_POINTS * 0.58))  # mean width of a letter: 0.58 em
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


def save_figure(
    fig: Figure, path: str | Path, *, note: str = "", formats: Sequence[str] = ("png", "pdf"), dpi: int = 200
) -> tuple[Path, ...]:
    """Writes a figure in each format, atomically; text stays text in PDF and SVG.

    The bytes depend on the figure and the versions of the libraries only: no date, no creator is written.

    Args:
        fig: The figure; `note` is added to its footnote.
        path: Where to, without suffix.
        note: One more line at the foot, such as `Synthetic phantom cohort - not clinical data`.
        formats: Of `png`, `pdf`, `svg`, `tiff` (RGB without transparency, LZW).
        dpi: Dots per inch of what is made of pixels.

    Returns:
        The paths, in the order of `formats`.
    """
    path = Path(path)
    add_footnote(fig, note)
    targets = tuple(path.with_name(f"{path.name}.{name}") for name in formats)
    for target, name in zip(targets, formats, strict=True):
        write_bytes(target, rendered(fig, name, dpi))
    return targets


_NO_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None},
}


def rendered(fig: Figure, name: str, dpi: int) -> bytes:
    """Returns a figure as the bytes of one format; see `save_figure`."""
    buffer = io.BytesIO()
    if name != "tiff":
        with mpl.rc_context(STYLE):
            fig.draw_without_rendering()  # square panels find their final place, and their titles, in a second round
            fig.savefig(buffer, format=name, dpi=dpi, metadata=_NO_METADATA[name])
        return buffer.getvalue()
    with Image.open(io.BytesIO(rendered(fig, "png", dpi))) as picture:
        picture.convert("RGB").save(buffer, format="TIFF", compression="tiff_lzw", dpi=(dpi, dpi))
    return buffer.getvalue()
