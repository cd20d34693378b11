"""Export: a run as a folder to submit: figures at a journal's widths, tables, methods, cards, checklists.

Every figure is drawn again from the run's tables at the journal's width, in each format; a figure that is made from the
scans themselves (montage, Grad-CAM) is taken over as it is. The same run gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bonescan_utils.files import read_text_csv, write_bytes, write_csv, write_text
from bonescan_utils.latex import to_latex
from bonescan_utils.profiles import StudyError
from bonescan_utils.reporting import cards
from bonescan_utils.reporting.catalogue import Drawing, Table, numbered
from bonescan_utils.reporting.limits import limitations
from bonescan_utils.reporting.methods import methods
from bonescan_utils.reporting.page import anchor_labels, filled_checklists, left_out
from bonescan_utils.reporting.readable import ROUNDING
from bonescan_utils.reporting.records import RunRecord, read_run
from bonescan_utils.reporting.word import Printed, as_rows, tables_document
from bonescan_utils.style import PHANTOM_NOTE, Journal, rendered, widths_of

FORMATS = {"pdf": 600, "svg": 600, "tiff": 600, "png": 300}
"""Formats of a figure, and the dots per inch of what is made of pixels in it."""
CONTENTS = "contents.csv"
"""The list of an export's files; a folder that has one may be written over, another may not."""


class Written(NamedTuple):
    """One file of an export: its path in the folder, and what it is."""

    file: str
    what: str


@dataclass(frozen=True)
class Export:
    """One export under way: the run, the journal, and the folder."""

    run: RunRecord
    journal: Journal
    out: Path

    def text(self, name: str, text: str, what: str) -> Written:
        """Writes a text file of the export."""
        write_text(self.out / name, text)
        return Written(name, what)

    def data(self, name: str, data: bytes, what: str) -> Written:
        """Writes a file of the export."""
        write_bytes(self.out / name, data)
        return Written(name, what)


def export_run(folder: Path, *, journal: str, out: Path) -> list[Written]:
    """Writes the submission folder of a run.

    Args:
        folder: The run folder.
        journal: A key of `style.JOURNALS`.
        out: Where to: a folder that is new, empty, or an earlier export, whose files are replaced.

    Returns:
        The files, in the order of `contents.csv`.

    Raises:
        StudyError: `folder` holds no run, or `out` holds something else than an export.
        CsvError: A table of the run cannot be read.
    """
    run = read_run(folder)
    _clear(out)
    with widths_of(journal) as widths:
        export = Export(run, widths, out)
        figures, tables = numbered(run)
        files = [file for label, each in figures.items() for file in _figure(export, label, each)]
    files += [file for label, each in tables.items() for file in _table(export, label, each)]
    files += [*_words(export, tables), *_checklists(export)]
    files.append(export.text("README.md", _readme(export, figures, tables), "what is what, captions and footnotes"))
    write_csv(out / CONTENTS, pd.DataFrame(files))
    return files


def _clear(out: Path) -> None:
    """Removes the files of an earlier export, and none else.

    Raises:
        StudyError: The folder holds files, and no list of an export.
    """
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / CONTENTS).is_file():
        raise StudyError(f"{out}: holds files that are no export; expected a new or an empty folder for --out")
    for name in read_text_csv(out / CONTENTS)["file"]:
        path = (out / name).resolve()
        if path.is_relative_to(out.resolve()):
            path.unlink(missing_ok=True)


# ----------------------------------------------------------------------------------------- figures, tables
def _figure(export: Export, label: str, drawing: Drawing) -> Iterable[Written]:
    """Writes one figure in every format, or as the run has it."""
    name = f"figures/{_number(label)}_{drawing.name}"
    figure = drawing.drawn(export.run)
    if figure is None:
        return _copied(export, name, drawing)
    what = f"{drawing.title}, {figure.get_figwidth() * 25.4:.0f} mm wide"
    return [export.data(f"{name}.{kind}", rendered(figure, kind, dpi), what) for kind, dpi in FORMATS.items()]


def _copied(export: Export, name: str, drawing: Drawing) -> Iterable[Written]:
    """Takes over a figure that is made from the scans, in the formats the run has."""
    for kind in ("pdf", "png"):
        source = export.run.figure(drawing.name).with_suffix(f".{kind}")
        if source.is_file():
            what = f"{drawing.title}, made from the scans, taken over from the run"
            yield export.data(f"{name}.{kind}", source.read_bytes(), what)


def _table(export: Export, label: str, table: Table) -> Iterable[Written]:
    """Writes one table as CSV with every digit, and as LaTeX to be read."""
    name = f"tables/{_number(label)}_{table.name}"
    write_csv(export.out / f"{name}.csv", export.run.table(table.name))
    yield Written(f"{name}.csv", f"{table.title}, every digit")
    latex = to_latex(
        table.printed(export.run), caption=table.title, label=f"tab:{table.name}", note=table.footnote(export.run)
    )
    yield export.text(f"{name}.tex", latex, f"{table.title}, LaTeX (booktabs)")


def _number(label: str) -> str:
    """Returns `figure_03` for `Figure 3`."""
    kind, number = label.split()
    return f"{kind.lower()}_{int(number):02d}"


# --------------------------------------------------------------------------------------------------- words
def _words(export: Export, tables: dict[str, Table]) -> Iterable[Written]:
    """Writes all tables as one Word document, the methods, and the two cards."""
    run = export.run
    printed = [Printed(label, table.title, table.footnote(run), table.printed(run)) for label, table in tables.items()]
    yield export.data("tables.docx", tables_document(printed, foot=ROUNDING), "all tables, Word")
    said: cards.Card = [(part.title, part.text) for part in methods(run)]
    said += [("Limitations", " ".join(limitations(run)))]
    yield export.text(
        "methods.md", cards.as_markdown("Methods", said), "methods and limitations, from the run's settings"
    )
    for name, title, card in (
        ("model_card", "Model card", cards.model_card(run)),
        ("data_card", "Data card", cards.data_card(run)),
    ):
        yield export.text(f"{name}.md", cards.as_markdown(title, card), title)


def _checklists(export: Export) -> Iterable[Written]:
    """Writes the reporting guidelines as one Word document."""
    labels = anchor_labels(export.run)
    heads = ("Item", "Asks for", "Status", "Where in the report", "Left to the author")
    printed = []
    for number, each in enumerate(filled_checklists(export.run, labels), start=1):
        lines = [
            (item.number, item.text, item.status, ", ".join(labels[anchor] for anchor in item.anchors), item.add)
            for item in each.items
        ]
        printed.append(Printed(f"Checklist {number}", each.title, each.source, as_rows(lines, heads)))
    return [export.data("checklists.docx", tables_document(printed), "CLAIM 2024, STARD-AI, TRIPOD+AI, Word")]


def _readme(export: Export, figures: dict[str, Drawing], tables: dict[str, Table]) -> str:
    """Returns what is what, for those who get the folder."""
    widths = ", ".join(f"{width:g}" for width in export.journal.widths_mm)
    lines = [
        f"# Submission folder: run {cards.plain(export.run.name)}",
        "",
        f"Figures are as wide as {export.journal.title} prints them ({widths} mm), with letters of 6 points and more."
        " Text in PDF and SVG can be edited. TIFF: 600 dots per inch, RGB, LZW. A figure in PDF and PNG only is made"
        " from the scans and taken over from the run. Numbers are those of the report of the run.",
        "",
        f"{ROUNDING}",
        "",
        *([f"**{PHANTOM_NOTE}.**", ""] if export.run.synthetic else []),
        "## Figures",
        *(f"- {label}. {each.title}. {each.note}".rstrip() for label, each in figures.items()),
        "",
        "## Tables",
        *(f"- {label}. {each.title}. {each.footnote(export.run)}".rstrip() for label, each in tables.items()),
        "",
        "## Words",
        "- `tables.docx`: all tables. `checklists.docx`: reporting guidelines, as far as the run can fill them.",
        "- `methods.md`, `model_card.md`, `data_card.md`: written from the run's settings; the rest is the author's.",
        f"- `{CONTENTS}`: every file and what it is.",
        "",
    ]
    absent = left_out(export.run)
    return "\n".join([*lines, *(["## Left out", *(f"- {line}" for line in absent), ""] if absent else [])])
