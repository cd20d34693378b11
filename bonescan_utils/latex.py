"""LaTeX: a table as a journal prints it: booktabs rules, letters that can be read, broad cells wrapped."""

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
    """A size of letters: its command, the width of a digit, the space between two columns, both in mm."""

    command: str
    digit_mm: float
    gap_mm: float

    def of(self, text: str) -> float:
        """Returns about how broad a text is, in mm."""
        return self.digit_mm * sum(0.62 if sign in SLENDER else 1.35 if sign in STOUT else 1.0 for sign in text)


SLENDER, STOUT = frozenset(" .,;:()[]|/'!-tfijlrI"), frozenset("ABCDEFGHKLMNOPQRSTUVWXYZmw%&=+<>\N{MINUS SIGN}")
SIZES = (_Size("", 1.76, 4.2), _Size(r"\footnotesize", 1.5, 4.2))
SMALLEST = _Size(r"\scriptsize\setlength{\tabcolsep}{3pt}", 1.4, 2.1)
"""Seven points: the smallest that journals print. A table too broad for it is wrapped, not made smaller."""
MOST_ROWS = 40
"""A table with more goes over several pages."""
SLACK_MM = 0.5
"""Room for letters broader than the mean."""


def to_latex(df: pd.DataFrame, *, caption: str = "", label: str = "", note: str = "") -> str:
    """Returns a LaTeX table with booktabs rules: floats to three decimals, P values by their rule.

    A table that is too broad for the page gets smaller letters, down to seven points; then its cells are wrapped; then
    it is turned sideways. One of many rows goes over several pages. It needs the packages `booktabs`, `array` and,
    where it comes to that, `rotating` and `longtable`.

    Args:
        df: The table; its index is not written. No columns give no table.
        caption: Stands above it.
        label: For `\\ref`.
        note: A paragraph below it.
    """
    heads = [str(name) for name in df.columns]
    texts = [[_text(str(name), value) for value in column] for name, column in df.items()]
    size, columns, width = _layout(heads, texts)
    head = [rf"\caption{{{latex_text(caption)}}}"] if caption else []
    head += [rf"\label{{{label}}}"] if label else []
    foot = [rf"\par\smallskip{{\footnotesize\raggedright {latex_text(note)}\par}}"] if note else []
    rows = [_line(row) for row in zip(*texts, strict=True)]
    if len(rows) > MOST_ROWS:
        return "\n".join([*_long(size, columns, head, _line(heads), rows), *foot, ""])
    kind = "sidewaystable" if width > UPRIGHT_MM else "table*" if width > COLUMN_MM else "table"
    lines = [rf"\begin{{{kind}}}" + ("" if kind == "sidewaystable" else "[ht]"), r"\centering", *head]
    lines += [r"\par\smallskip" + size.command, rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _line(heads)]
    lines += [r"\midrule", *rows, r"\bottomrule", r"\end{tabular}", *foot, rf"\end{{{kind}}}", ""]
    return "\n".join(lines)


def _long(size: _Size, columns: str, head: Sequence[str], names: str, rows: Sequence[str]) -> list[str]:
    """Returns a table that goes over several pages, its head on each."""
    top = [r"\toprule", names, r"\midrule"]
    first = [*head, r"\\", *top, r"\endfirsthead"] if head else []
    lines = ["{" + size.command, rf"\begin{{longtable}}{{{columns}}}", *first, *top, r"\endhead"]
    return [*lines, r"\bottomrule", r"\endlastfoot", *rows, r"\end{longtable}}"]


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
    pairs = list(zip(heads, texts, strict=True))
    for size in SIZES:
        natural = [max(map(size.of, [head, *column])) for head, column in pairs]
        width = sum(natural) + len(natural) * size.gap_mm
        if width <= UPRIGHT_MM:
            return size, "".join("r" if each else "l" for each in numeric), width
    least = [max(_longest_word(text) for text in [head, *column]) for head, column in pairs]
    wanted = [
        max(low, *(SMALLEST.of(text) + SLACK_MM for text in column)) for low, column in zip(least, texts, strict=True)
    ]
    gaps = len(pairs) * SMALLEST.gap_mm
    page = UPRIGHT_MM if sum(least) + gaps <= UPRIGHT_MM or len(texts[0]) > MOST_ROWS else SIDEWAYS_MM
    return SMALLEST, "".join(map(_wrapped, _shared(least, wanted, page - gaps), numeric)), page


def _longest_word(text: str) -> float:
    """Returns the width in mm of the longest word, which cannot be wrapped."""
    return max((SMALLEST.of(word) for word in text.split()), default=4.0) + SLACK_MM


def _shared(least: Sequence[float], wanted: Sequence[float], room: float) -> list[float]:
    """Returns widths that fill no more than the room: what each column wants, the broadest cut at one limit."""
    if sum(least) >= room:
        return [width * room / sum(least) for width in least]
    if sum(wanted) <= room:
        return list(wanted)

    def limited(limit: float) -> list[float]:
        return [max(low, min(high, limit)) for low, high in zip(least, wanted, strict=True)]

    low, high = min(least), max(wanted)
    for _ in range(40):  # halving: far below a thousandth of a millimetre
        middle = (low + high) / 2
        low, high = (middle, high) if sum(limited(middle)) <= room else (low, middle)
    return limited(low)


def _wrapped(width: float, number: bool) -> str:
    """Returns a column whose cells are wrapped at a width in mm."""
    return rf">{{\ragged{'left' if number else 'right'}\arraybackslash}}p{{{width:.1f}mm}}"
