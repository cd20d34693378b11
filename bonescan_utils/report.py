"""Report: executed notebooks as self-contained web pages: no script, no network, no untrusted markup."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import nbformat

from bonescan_utils.files import read_text_csv, visible, write_text

ALLOWED_TAGS = frozenset(
    "a abbr b blockquote br code dd div dl dt em h1 h2 h3 h4 h5 h6 hr i img li ol p pre small span strong"
    " sub sup table tbody td tfoot th thead tr ul".split()
)
REPORT_PAGE = "report.html"
"""The report of a run, in its folder (`reporting.page`)."""
OTHER_PAGES = {
    REPORT_PAGE: "all in one page, with methods and reporting checklists",
    "gallery.html": "scans to leaf through",
}
"""Pages in a run's folder that its first page leads to where they are there, and what is on them."""
INDEX_FIGURES = ("figures/roc.png", "figures/grad_cam.png")
"""Figures that a run's first page shows, where there are any."""
SUMMARY_COLUMNS = ("Arm", "Starting weights", "Scans (positive)", "AUROC", "Sensitivity", "Specificity", "F1")
"""Columns of the table of arms that a run's first page shows; estimates with 95 % intervals, on test scans."""
PHANTOM_SENTENCE = "Synthetic phantoms, not patients: these are no clinical results. Test scans; 95 % intervals."
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_LOCAL_LINK = re.compile(r"[\w./#-]+")
_PICTURE = re.compile(r"data:image/(png|jpeg);base64,")
_TABLE = re.compile(r"<table\b.*?</table>", re.DOTALL)
_ROW_NUMBER = re.compile(r"(<tr>\s*)<th>(\d+)</th>")
_STYLE = re.compile(r"<style\b.*?</style\s*>", re.IGNORECASE | re.DOTALL)


def write_page(notebook: Path, page: Path, *, links: Sequence[tuple[str, str]] = ()) -> None:
    """Write an executed notebook as one HTML file: text, tables and pictures, without the code.

    Args:
        notebook: The executed notebook.
        page: The HTML file to write.
        links: (title, address) of the other pages of the run, addresses relative to the page.
    """
    content = nbformat.read(notebook, as_version=4)
    title = _title(content) or notebook.stem
    write_text(page, visible(_document(title, _body(content), links=links, here=page.name)))


def write_index(page: Path, *, record: Mapping[str, Any], links: Sequence[tuple[str, str]]) -> None:
    """Write the first page of a run: its steps with links, and what it was made from.

    Args:
        page: The HTML file to write.
        record: The run's record, as in `run.json`.
        links: (title, address) of the pages of its notebooks.
    """
    made = {step["name"]: step for step in record["steps"]}
    rows = []
    for title, address in links:
        step = made.get(Path(address).stem, {})
        rows.append((f'<a href="{html.escape(address)}">{html.escape(title)}</a>', step.get("status", "")))
    facts = [
        ("Run", record["run"]),
        ("Profile", record["config"]["profile"]),
        ("Seed", record["config"]["seed"]),
        ("Manifest", f"{record['manifest']['name']}, {record['manifest']['scans']} scans"),
        *((f"Weights of {name}", source["weights"]) for name, source in record["weights"].items()),
        ("Finished", record.get("finished", "")),
    ]
    for name in (name for name in OTHER_PAGES if (page.parent / name).exists()):
        if name == REPORT_PAGE or name in _outputs(record):  # a report that is not of this run was removed before it
            rows.append((f'<a href="{name}">{name.removesuffix(".html")}</a>', OTHER_PAGES[name]))
    body = "<h1>Bone scan study</h1>" + _summary(page.parent, record) + _table(rows)
    body += "".join(_picture(page.parent / name) for name in INDEX_FIGURES if name in _outputs(record))
    body += "<h2>Made from</h2>" + _table([(html.escape(str(name)), html.escape(str(value))) for name, value in facts])
    write_text(page, visible(_document(f"Bone scan study: {record['run']}", body, links=(), here=page.name)))


def _summary(folder: Path, record: Mapping[str, Any]) -> str:
    """Return what the run found: its table of arms, and for phantoms the sentence that must stand beside it."""
    table = folder / "tables" / "comparison.csv"
    found = f"<p>{html.escape(PHANTOM_SENTENCE)}</p>" if record.get("notes", {}).get("synthetic") else ""
    if table.exists() and "tables/comparison.csv" in _outputs(record):
        shown = read_text_csv(table)
        columns = [name for name in SUMMARY_COLUMNS if name in shown]
        found += shown[columns].to_html(index=False, border=0, escape=True, classes="summary")
    return found


def _outputs(record: Mapping[str, Any]) -> set[str]:
    """Return the paths of all that the done steps of a run wrote: nothing of an older run in the same folder."""
    return {str(output["path"]) for step in record["steps"] for output in step.get("outputs", [])}


def _body(content: nbformat.NotebookNode) -> str:
    """Return a notebook as an HTML fragment in which only harmless markup is left."""
    import bleach
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    config = Config()
    config.HTMLExporter.exclude_input = True
    config.HTMLExporter.exclude_output_prompt = True
    config.HTMLExporter.exclude_anchor_links = True
    exporter = HTMLExporter(config=config, template_name="basic")
    fragment, _ = exporter.from_notebook_node(_with_parameters(content))
    # A style sheet would show as text once its tags are gone. nbconvert's own sanitize_html escapes headings
    # and the heads of tables, so the same library is used here with a list that keeps them.
    fragment = _TABLE.sub(_without_row_numbers, _STYLE.sub("", fragment))
    return str(bleach.clean(fragment, tags=ALLOWED_TAGS, attributes=_allowed, protocols={"data"}, strip=False))


def _without_row_numbers(table: re.Match[str]) -> str:
    """Return a table without its first column where that holds only the numbers of the rows."""
    text = table.group()
    numbers = [int(number) for _, number in _ROW_NUMBER.findall(text)]
    rows = text.count("<tr>")
    if not numbers or numbers != list(range(rows)) or "<thead>" not in text:
        return text
    head, body = text.split("</thead>", 1)
    return re.sub(r"(<tr[^>]*>\s*)<th></th>", r"\1", head, count=1) + "</thead>" + _ROW_NUMBER.sub(r"\1", body)


def _with_parameters(content: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return the notebook with the parameters it was executed with as text: they show though code does not."""
    for at, cell in enumerate(content.cells):
        if "injected-parameters" in cell.metadata.get("tags", []):
            lines = [line for line in cell.source.splitlines() if not line.startswith("#")]
            content.cells[at] = nbformat.v4.new_markdown_cell("```\n" + "\n".join(lines) + "\n```")
    return content


def _allowed(tag: str, name: str, value: str) -> bool:
    """Say whether an attribute may stay: looks, pictures held in the page, links to pages of the same run."""
    if name in ("class", "colspan", "rowspan", "alt", "title"):
        return True
    if tag == "img":
        return name == "width" or (name == "src" and bool(_PICTURE.match(value)))
    return tag == "a" and name == "href" and bool(_LOCAL_LINK.fullmatch(value))


def _document(title: str, body: str, *, links: Sequence[tuple[str, str]], here: str) -> str:
    """Return a whole page round a fragment."""
    style = (package_files("bonescan_utils") / "assets" / "report.css").read_text(encoding="utf-8")
    marks = {here: ' class="here"'}
    items = [
        f'<a href="{html.escape(address)}"{marks.get(address, "")}>{html.escape(name)}</a>' for name, address in links
    ]
    navigation = f"<nav>{' '.join(items)}</nav>" if items else ""
    return (
        "<!DOCTYPE html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{style}</style></head>\n<body>{navigation}<main>{body}</main></body></html>\n"
    )


def _picture(path: Path) -> str:
    """Return a figure as a picture held in the page; '' where the run has none."""
    if not path.exists():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{html.escape(path.stem)}" src="data:image/png;base64,{data}">'


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><td>{left}</td><td>{right}</td></tr>" for left, right in rows)
    return f"<table>{cells}</table>"


def _title(content: nbformat.NotebookNode) -> str:
    """Return the text of the first heading."""
    for cell in content.cells:
        for line in cell.source.splitlines() if cell.cell_type == "markdown" else []:
            if line.startswith("# "):
                return str(line[2:].strip())
    return ""
