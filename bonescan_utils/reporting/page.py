"""Page: the report of a run as one HTML file that needs nothing else: no script, no network, no second file.

Whatever comes from a manifest or a run is text to the template, which escapes it; a content security policy forbids the
browser to fetch anything.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image

from bonescan_utils.files import safe_text, visible, write_text
from bonescan_utils.report import POLICY, REPORT_PAGE
from bonescan_utils.reporting import cards
from bonescan_utils.reporting.catalogue import SECTIONS, Drawing, Table, data_tables, drawings_of, numbered
from bonescan_utils.reporting.checklists import CHECKLISTS, Checklist, filled
from bonescan_utils.reporting.limits import limitations
from bonescan_utils.reporting.methods import methods
from bonescan_utils.reporting.readable import ROUNDING
from bonescan_utils.reporting.records import RunRecord, read_run
from bonescan_utils.style import rendered
from bonescan_utils.wording import arm_text, metric_text, weights_text

DOTS_PER_INCH = 200
"""Of the figures in a run folder."""
FIXED_ANCHORS = {
    "glance": "At a glance", "methods": "Methods", "limitations": "Limitations",
    "availability": "Code, data and outputs", "model-card": "Model card", "data-card": "Data card",
    "files": "Tables of data",
}  # fmt: skip
"""Parts that every report has, and what a link to them says."""


@dataclass
class Section:
    """A part of the results: its anchor, title, and the tables and figures in it."""

    anchor: str
    title: str
    items_: list[dict[str, Any]] = field(default_factory=list)


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Writes the report of a run.

    Args:
        folder: The run folder.
        out: The HTML file to write; `report.html` in the run folder if not given.

    Returns:
        The file.

    Raises:
        StudyError: The folder holds no run, or its record lacks what a report is written from.
        CsvError: A table of the run cannot be read.
    """
    target = out or folder / REPORT_PAGE
    write_text(target, visible(report_page(read_run(folder))))
    return target


def report_page(run: RunRecord) -> str:
    """Returns the report of a run as one HTML page."""
    sections, parts = results(run), methods(run)
    labels = anchor_labels(run)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    assets = package_files("bonescan_utils") / "assets"
    template = environment.from_string((assets / "run_report.html").read_text(encoding="utf-8"))
    checklists = filled_checklists(run, labels)
    return template.render(
        **_head(run), policy=POLICY, style=Markup((assets / "report.css").read_text(encoding="utf-8")),
        contents=_contents(sections, checklists), methods=parts, sections=sections, left_out=left_out(run),
        limitations=limitations(run), availability=_availability(run), versions=_versions(run),
        cards=[
            {"anchor": "model-card", "title": "Model card", "entries": cards.model_card(run)},
            {"anchor": "data-card", "title": "Data card", "entries": cards.data_card(run)},
        ],
        checklists=checklists, labels=labels, files=list(_files(run)), figures=run.figure_hashes(), rounding=ROUNDING,
    )  # fmt: skip


def filled_checklists(run: RunRecord, labels: Mapping[str, str]) -> list[Checklist]:
    """Returns the reporting guidelines, filled by what the report has (`anchors`)."""
    return [filled(name, anchors=labels, arm=run.arm, synthetic=run.synthetic) for name in CHECKLISTS]


# ------------------------------------------------------------------------------------------------- parts
def results(run: RunRecord) -> list[Section]:
    """Returns the parts of the results that have anything in them: figures, then tables, numbered through."""
    figures, tables = numbered(run)
    sections = [Section(anchor, title) for anchor, title in SECTIONS.items()]
    for section in sections:
        mine = [(label, each) for label, each in figures.items() if each.section == section.anchor]
        section.items_ += [_pictured(run, each) | {"label": label} for label, each in mine]
        printed = [(label, each) for label, each in tables.items() if each.section == section.anchor]
        section.items_ += [_tabled(run, each) | {"label": label} for label, each in printed]
    return [section for section in sections if section.items_]


def _pictured(run: RunRecord, drawing: Drawing) -> dict[str, Any]:
    """Returns a figure for the template, its picture inside the page."""
    data = _picture(run, drawing)
    with Image.open(io.BytesIO(data)) as picture:
        width, height = picture.size
    return {
        "anchor": drawing.anchor, "title": drawing.title, "note": drawing.note, "width": width, "height": height,
        "millimetres": round(width / DOTS_PER_INCH * 25.4),
        "picture": f"data:image/png;base64,{base64.b64encode(data).decode()}",
    }  # fmt: skip


def _picture(run: RunRecord, drawing: Drawing) -> bytes:
    """Returns the PNG that the run has, or draws it from the run's tables."""
    path = run.figure(drawing.name)
    figure = None if drawing.name in run.figure_names() else drawing.drawn(run)
    return path.read_bytes() if figure is None else rendered(figure, "png", DOTS_PER_INCH)


def _tabled(run: RunRecord, table: Table) -> dict[str, Any]:
    """Returns a table for the template."""
    printed = table.printed(run)
    rows = [[safe_text(cell, limit=300) for cell in row] for row in printed.itertuples(index=False, name=None)]
    heads = [safe_text(name) for name in printed.columns]
    return {
        "anchor": table.anchor, "title": table.title, "note": table.footnote(run), "heads": heads, "rows": rows,
        "picture": "",
    }  # fmt: skip


def left_out(run: RunRecord) -> list[str]:
    """Returns a line for each figure that the run has no tables for."""
    return [
        f"{drawing.title}: this run has no rows in {', '.join(f'tables/{name}.csv' for name in drawing.missing(run))}."
        for drawing in drawings_of(run)
        if drawing.missing(run) and not drawing.there(run)
    ]


def anchor_labels(run: RunRecord) -> dict[str, str]:
    """Returns anchor -> what a link to it says, of all that the report of a run has."""
    found = dict(FIXED_ANCHORS) | {part.anchor: f"Methods: {part.title}" for part in methods(run)}
    for entries in numbered(run):
        found |= {entry.anchor: label for label, entry in entries.items()}
        found |= {entry.section: SECTIONS[entry.section] for entry in entries.values()}
    return found


def _contents(sections: Iterable[Section], checklists: Iterable[Any]) -> list[tuple[str, str]]:
    """Returns (anchor, text) of the page's own contents."""
    results_of = [(section.anchor, section.title) for section in sections]
    last = [(name, FIXED_ANCHORS[name]) for name in list(FIXED_ANCHORS)[2:]]
    guidelines = [(each.anchor, each.title) for each in checklists]
    return [("glance", "At a glance"), ("methods", "Methods"), *results_of, *last[:-1], *guidelines, last[-1]]


# ------------------------------------------------------------------------------------------------- facts
def _head(run: RunRecord) -> dict[str, Any]:
    """Returns what stands at the head of the page."""
    found = [(metric_text(name), value) for name, value in cards.headline(run).items()]
    size = _tested(run)
    return {
        "title": "Bone scan study: report", "run": run.name,
        "finished": str(run.record.get("finished", "")).replace("T", " ")[:16],
        "status": run.record.get("status", "unknown"), "synthetic": run.synthetic, "headline": found,
        "arm": arm_text(run.arm), "tested": size[0], "tested_positive": size[1], "facts": _facts(run),
    }  # fmt: skip


def _tested(run: RunRecord) -> tuple[int, int]:
    """Returns the number of test scans, and of those with metastasis."""
    for name in (f"metrics_{run.arm}", "metrics"):
        if run.has(name):
            row = run.table(name).iloc[0]
            return int(row["n"]), int(row["n_positive"])
    return 0, 0


def _facts(run: RunRecord) -> list[tuple[str, str]]:
    """Returns the study at a glance: (name, value)."""
    manifest, config = run.record["manifest"], run.config
    used = len(run.cohort) if run.cohort is not None else None
    found = [
        ("Question", "Does a whole-body bone scan show bone metastases, and does the arm look at them?"),
        ("Scans", f"{manifest['scans']:,} in {manifest['name']}" + (f"; {used:,} used" if used is not None else "")),
        ("Study's arm", f"{arm_text(run.arm)}, started from {weights_text(run.arm, run.weights)}"),
        ("Compared with", ", ".join(arm_text(arm) for arm in run.weights if arm != run.arm) or "nothing"),
        ("Image", f"{config['image_height']} x {config['image_width']} pixels, layout {config['layout']}"),
        ("Profile and seed", f"{config['profile']}, {config['seed']}"),
        ("Cross-validation", f"{config['folds']} folds" if config.get("folds") else "none; held-out test scans"),
    ]
    return [(name, safe_text(value, limit=500)) for name, value in found]


def _availability(run: RunRecord) -> list[str]:
    """Returns what there is to rerun and to check the study with."""
    revision = str(run.record.get("environment", {}).get("git", {}).get("revision", "")) or "not on record"
    return [
        f"Code: bonescan-utils, Apache-2.0, revision {revision}.",
        f"Data: {run.record['manifest']['name']}, SHA-256 {run.record['manifest']['sha256']}. "
        + ("The phantoms can be made again from it." if run.synthetic else "Access: to be written by the author."),
        "Kept in the run folder: the executed notebooks, every table (CSV), every score of every arm"
        " (predictions.csv), the trained models, and run.json with settings, versions and hashes.",
    ]


def _versions(run: RunRecord) -> list[tuple[str, str]]:
    versions = run.record.get("environment", {}).get("versions", {})
    return [(str(name), str(version)) for name, version in versions.items()]


def _files(run: RunRecord) -> Iterable[tuple[str, str, str]]:
    """Yields (name, rows, columns) of the tables that are not printed."""
    for name in sorted(data_tables(run) & set(run.table_names())):
        table = run.table(name)
        yield name, f"{len(table):,}", ", ".join(safe_text(column) for column in table.columns)
