"""LaTeX: a table as a journal prints it: booktabs rules, letters that can be read, broad columns wrapped, never shrunk."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from bonescan_utils.wording import MINUS, NOTHING, P_VALUES, format_number, format_p

SPELLED = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{
        MINUS: "$-$",
        NOTHING: "---",
        "\N{EN DASH}": "--",
        "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
        "\N{GREATER-THAN OR EQUAL TO}": r"$\geq$",
        "<": "$<$",
        ">": "$>$",
        "\N{GREEK CAPITAL LETTER DELTA}": r"$\Delta$",
        "\N{MULTIPLICATION SIGN}": r"$\times$",
        "\N{DAGGER}": r"\dag{}",
    },
}
"""What LaTeX needs another spelling for."""
NUMBER = re.compile(rf"[<{MINUS}-]?[\d.,]+|{NOTHING}|")
"""A cell that is a number, none, or empty: a column of them is set to the right."""
UPRIGHT_MM, SIDEWAYS_MM = 160.0, 240.0
"""Width of the text on a page of A4, upright and turned."""
COLUMN_MM = 84.0
"""A table no broader than this fits one column of a page of two."""


class _Size(NamedTuple):
    """A size of letters: its command, the mean width of a letter, the space between two columns, both in mm."""

    command: str
    letter_mm: float
    gap_mm: float


SIZES = (_Size("", 1.75, 4.2), _Size(r"\footnotesize", 1.5, 4.2))
SMALLEST = _Size(r"\scriptsize\setlength{\tabcolsep}{3pt}", 1.3, 2.1)
"""Seven points: the smallest that journals print. A table too broad for it is wrapped, not made smaller."""


def to_latex(df: pd.DataFrame, *, caption: str = "", label: str = "", note: str = "") -> str:
    """Returns a LaTeX table with booktabs rules: floats to three decimals, P values by their rule, numbers to the right.

    A table that is too broad for the page gets smaller letters, down to seven points; then its cells are wrapped; then
    it is turned sideways. It needs the packages `booktabs`, `array` and, if it is turned, `rotating`.

    Args:
        df: The table; its index is not written. No columns give no table.
        caption: Stands above it.
        label: For `\\ref`.
        note: A paragraph below it.
    """
    heads = [str(name) for name in df.columns]
    texts = [[_text(str(name), value) for value in column] for name, column in df.items()]
    size, columns, width = _layout(heads, texts)
    kind = "sidewaystable" if width > UPRIGHT_MM else "table*" if width > COLUMN_MM else "table"
    lines = [rf"\begin{{{kind}}}" + ("" if kind == "sidewaystable" else "[ht]"), r"\centering"]
    lines += [rf"\caption{{{latex_text(caption)}}}"] if caption else []
    lines += [rf"\label{{{label}}}"] if label else []
    lines += [r"\par\smallskip" + size.command, rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    lines += [_line(heads), r"\midrule", *(_line(row) for row in zip(*texts, strict=True))]
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip{{\footnotesize\raggedright {latex_text(note)}\par}}"] if note else []
    return "\n".join([*lines, rf"\end{{{kind}}}", ""])


def latex_text(cell: object) -> str:
    """Returns a cell as LaTeX: floats rounded to three decimals, intervals with an en dash, text escaped."""
    return "".join(SPELLED.get(sign, sign) for sign in _text("", cell))


def _text(column: str, cell: Any) -> str:
    """Returns a cell as it is read."""
    if cell is None or cell is pd.NA or cell != cell:
        return NOTHING
    if isinstance(cell, float):
        return format_p(cell) if column in P_VALUES else format_number(cell, 3)
    return re.sub(r"\(([\d.]+)-([\d.]+)\)", "(\\1\N{EN DASH}\\2)", str(cell))


def _line(cells: Sequence[str]) -> str:
    return " & ".join(latex_text(cell) for cell in cells) + r" \\"


# ---------------------------------------------------------------------------------------------- widths
def _layout(heads: Sequence[str], texts: Sequence[Sequence[str]]) -> tuple[_Size, str, float]:
    """Returns the size of letters, the columns, and the width in mm that the table needs."""
    numeric = [all(NUMBER.fullmatch(cell) for cell in column) for column in texts]
    natural = [max(map(len, [head, *column])) for head, column in zip(heads, texts, strict=True)]
    for size in SIZES:
        width = sum(natural) * size.letter_mm + len(natural) * size.gap_mm
        if width <= UPRIGHT_MM:
            return size, "".join("r" if each else "l" for each in numeric), width
    least = [
        max([*map(_word, [head, *column]), 5]) * SMALLEST.letter_mm for head, column in zip(heads, texts, strict=True)
    ]
    wanted = [
        max(low, max(map(len, column), default=0) * SMALLEST.letter_mm)
        for low, column in zip(least, texts, strict=True)
    ]
    gaps = len(natural) * SMALLEST.gap_mm
    page = UPRIGHT_MM if sum(least) + gaps <= UPRIGHT_MM else SIDEWAYS_MM
    widths = _shared(least, wanted, page - gaps)
    return SMALLEST, "".join(map(_wrapped, widths, numeric)), page


def _word(text: str) -> int:
    """Returns the letters of the longest word, which cannot be wrapped."""
    return max((len(word) for word in text.split()), default=0)


def _shared(least: Sequence[float], wanted: Sequence[float], room: float) -> list[float]:
    """Returns widths that fill no more than the room: what all need, and of the rest what each one more wants."""
    spare, more = room - sum(least), sum(wanted) - sum(least)
    if spare < 0:
        return [width * room / sum(least) for width in least]
    share = min(1.0, spare / more) if more > 0 else 0.0
    return [low + (high - low) * share for low, high in zip(least, wanted, strict=True)]


def _wrapped(width: float, number: bool) -> str:
    """Returns a column whose cells are wrapped at a width in mm."""
    return rf">{{\ragged{'left' if number else 'right'}\arraybackslash}}p{{{width:.1f}mm}}"
