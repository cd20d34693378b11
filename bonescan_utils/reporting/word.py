"""Word: tables as a Word document, with a caption above, rules as in print, and a footnote below.

A file of the same content has the same bytes: dates are left out.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd
from docx import Document
from docx.document import Document as DocumentType
from docx.enum.section import WD_ORIENT
from docx.enum.table import WD_TABLE_ALIGNMENT
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Mm, Pt
from docx.table import Table as WordTable
from docx.table import _Cell

from bonescan_utils.files import safe_text

A4_MM = (210, 297)
MARGIN_MM = 20
MOST_UPRIGHT = 6
"""A table with more columns stands on a page turned sideways."""
FONT, POINTS, SMALL = "Arial", 9.0, 8.0
LETTER_MM, MOST_LETTERS = 1.6, 45
"""Mean width of a small letter; a column is no wider than so many."""
NARROW_MM = 36
"""A column as narrow as an interval keeps its width."""
THICK, THIN = 8, 4
"""Widths of rules, in eighths of a point."""


@dataclass(frozen=True)
class Printed:
    """A table as it is printed: its `label`, `title`, `note`, and `rows` of text."""

    label: str
    title: str
    note: str
    rows: pd.DataFrame


def tables_document(tables: Iterable[Printed], *, foot: str = "") -> bytes:
    """Returns a Word document with a table to a page, sideways where it is broad.

    Args:
        tables: The tables; all cells are text.
        foot: A last paragraph, such as the rule of rounding.
    """
    document = _empty()
    for number, table in enumerate(tables):
        _page(document, sideways=_broad(table.rows), first=number == 0)
        caption = document.add_paragraph()
        caption.add_run(f"{table.label}. ").bold = True
        caption.add_run(f"{table.title}.")
        caption.paragraph_format.keep_with_next = True
        _add_table(document, table.rows)
        _footnote(document, table.note)
    _footnote(document, foot)
    return _without_dates(document)


def _broad(rows: pd.DataFrame) -> bool:
    """Tells whether a table needs a page turned sideways."""
    return rows.shape[1] > MOST_UPRIGHT


def _footnote(document: DocumentType, text: str) -> None:
    """Adds a paragraph in small letters; none for ''."""
    if text:
        paragraph = document.add_paragraph()
        paragraph.paragraph_format.space_before = Pt(4)
        paragraph.add_run(text).font.size = Pt(SMALL)


def _empty() -> DocumentType:
    """Returns an empty document in the one font."""
    document = Document()
    normal = document.styles["Normal"]
    normal.font.name, normal.font.size = FONT, Pt(POINTS)
    normal.paragraph_format.space_after = Pt(4)
    return document


def _page(document: DocumentType, *, sideways: bool, first: bool) -> None:
    """Begins a page of A4, upright or sideways."""
    section = document.sections[0] if first else document.add_section()
    width, height = A4_MM[::-1] if sideways else A4_MM
    section.orientation = WD_ORIENT.LANDSCAPE if sideways else WD_ORIENT.PORTRAIT
    section.page_width, section.page_height = Mm(width), Mm(height)
    section.left_margin = section.right_margin = section.top_margin = section.bottom_margin = Mm(MARGIN_MM)


def _add_table(document: DocumentType, rows: pd.DataFrame) -> None:
    """Adds a table with rules above, below and under its head, which comes again on each page."""
    table = document.add_table(rows=1 + len(rows), cols=rows.shape[1])
    table.alignment = WD_TABLE_ALIGNMENT.LEFT
    lines = [list(rows.columns), *rows.itertuples(index=False, name=None)]
    table.autofit = False
    widths = _widths(lines, max(A4_MM) - 2 * MARGIN_MM if _broad(rows) else min(A4_MM) - 2 * MARGIN_MM)
    for column, width in zip(table.columns, widths, strict=True):
        column.width = Mm(width)
    for line, texts in zip(table.rows, lines, strict=True):
        line._tr.get_or_add_trPr().append(OxmlElement("w:cantSplit"))  # no row is divided between two pages
        for cell, text, width in zip(line.cells, texts, widths, strict=True):
            cell.width = Mm(width)
            _write(cell, safe_text(text, limit=500))
    for cell in table.rows[0].cells:
        for run in cell.paragraphs[0].runs:
            run.bold = True
    table.rows[0]._tr.get_or_add_trPr().append(OxmlElement("w:tblHeader"))
    _rules(table)


def _widths(lines: Sequence[Sequence[str]], room: float) -> list[float]:
    """Returns the widths of columns in mm, by their longest cell; where there is no room, long ones give way."""
    longest = [max(len(str(text)) for text in column) for column in zip(*lines, strict=True)]
    wanted = [min(max(length, 5), MOST_LETTERS) * LETTER_MM + 5 for length in longest]
    narrow = sum(width for width in wanted if width <= NARROW_MM)
    over = sum(wanted) - narrow
    if over > room - narrow > 0.4 * over:
        return [width if width <= NARROW_MM else width * (room - narrow) / over for width in wanted]
    return [width * min(1.0, room / sum(wanted)) for width in wanted]


def _write(cell: _Cell, text: str) -> None:
    """Writes one cell."""
    paragraph = cell.paragraphs[0]
    paragraph.paragraph_format.space_before = paragraph.paragraph_format.space_after = Pt(1.5)
    paragraph.add_run(text).font.size = Pt(SMALL)


def _rules(table: WordTable) -> None:
    """Draws the three rules of a printed table."""
    edges = [(0, "top", THICK), (0, "bottom", THIN), (-1, "bottom", THICK)]
    for row, edge, width in edges if len(table.rows) > 1 else edges[::2]:
        for cell in table.rows[row].cells:
            _border(cell, edge, width)


def _border(cell: _Cell, edge: str, width: int) -> None:
    """Draws one edge of a cell."""
    properties = cell._tc.get_or_add_tcPr()
    found = properties.find(qn("w:tcBorders"))
    borders = OxmlElement("w:tcBorders") if found is None else found
    if found is None:
        properties.append(borders)
    line = OxmlElement(f"w:{edge}")
    for name, value in (("val", "single"), ("sz", str(width)), ("color", "000000")):
        line.set(qn(f"w:{name}"), value)
    borders.append(line)


def _without_dates(document: DocumentType) -> bytes:
    """Returns the document's file with every date in it fixed."""
    written, fixed = io.BytesIO(), io.BytesIO()
    document.save(written)
    with zipfile.ZipFile(written) as old, zipfile.ZipFile(fixed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), old.read(name), zipfile.ZIP_DEFLATED)
    return fixed.getvalue()


def as_rows(lines: Sequence[Sequence[str]], heads: Sequence[str]) -> pd.DataFrame:
    """Returns lines of text as a table to print."""
    return pd.DataFrame([list(line) for line in lines], columns=list(heads), dtype="str")
