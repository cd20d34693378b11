"""Web pages of a run: everything a reader needs is there, nothing that runs or reaches out."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from bonescan_utils.report import write_index, write_page

ATTACKS = [
    "<script>alert(1)</script>",
    '<img src="http://evil.example/x.png" onerror="alert(1)">',
    '<a href="javascript:alert(1)">x</a>',
    '<a href="//evil.example">x</a>',
    "<iframe src='data:text/html,x'></iframe>",
    '<svg onload="alert(1)"></svg>',
    "<style>@import url(http://evil.example)</style>",
]


@pytest.fixture
def executed(tmp_path: Path) -> Path:
    table = pd.DataFrame({"scan_id": ["0007", ATTACKS[0]], "n": [1, 2]})
    outputs = [
        new_output("execute_result", data={"text/html": table._repr_html_(), "text/plain": "x"}),
        new_output("stream", name="stdout", text="60 <b>scans</b> read"),
        new_output("display_data", data={"image/png": "aGVsbG8=", "text/plain": "figure"}),
        *(new_output("display_data", data={"text/html": text}) for text in ATTACKS),
    ]
    cells = [
        new_markdown_cell("# 01 Cohort\n\nText with `code`.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n" + ATTACKS[1]),
        new_code_cell("# Parameters\nseed = 7\n", metadata={"tags": ["injected-parameters"]}),
        new_code_cell("secret_code()", outputs=outputs),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "01_cohort.ipynb")
    return tmp_path / "01_cohort.ipynb"


def test_a_page_holds_text_tables_pictures_and_parameters_but_no_code(executed: Path) -> None:
    page = executed.with_suffix(".html")
    write_page(executed, page, links=[("01 cohort", "01_cohort.html"), ("02", "02_preprocessing.html")])
    text = page.read_text(encoding="utf-8")
    assert "<title>01 Cohort</title>" in text and "<h1>01 Cohort</h1>" in text
    assert "<th>scan_id</th>" in text and "0007" in text and "seed = 7" in text
    assert 'src="data:image/png;base64,aGVsbG8=' in text and "60 &lt;b&gt;scans" in text
    assert "secret_code" not in text and 'href="02_preprocessing.html"' in text


def test_nothing_in_a_page_runs_or_reaches_out(executed: Path) -> None:
    page = executed.with_suffix(".html")
    write_page(executed, page)
    text = page.read_text(encoding="utf-8")
    tags = " ".join(re.findall(r"<[a-zA-Z][^>]*>", text.split("</head>")[1]))
    assert not re.search(r"<(script|iframe|svg|style|object|link)\b|\bon\w+=|javascript:|//", tags)
    assert "default-src 'none'" in text


def test_the_first_page_leads_to_the_others(tmp_path: Path) -> None:
    record = {
        "run": "<quick>", "config": {"profile": "quick", "seed": 7},
        "manifest": {"name": "data_manifest.csv", "scans": 60}, "weights": {"vgg16": {"weights": "random"}},
        "steps": [{"name": "01_cohort", "status": "done"}], "finished": "then",
    }  # fmt: skip
    write_index(tmp_path / "index.html", record=record, links=[("01 cohort", "notebooks/01_cohort.html")])
    text = (tmp_path / "index.html").read_text()
    assert "gallery.html" not in text and "report.html" not in text
    for name in ("report.html", "gallery.html"):
        (tmp_path / name).write_text("")
    record["steps"] = [{"name": "01_cohort", "status": "done", "outputs": [{"path": "gallery.html"}]}]
    write_index(tmp_path / "index.html", record=record, links=[("01 cohort", "notebooks/01_cohort.html")])
    text = (tmp_path / "index.html").read_text()
    assert 'href="gallery.html"' in text and 'href="report.html"' in text
    assert 'href="notebooks/01_cohort.html"' in text and "&lt;quick&gt;" in text
    assert "Weights of vgg16" in text and "random" in text and "done" in text


def test_p22_the_first_page_shows_pages_and_figures_of_this_run_only(tmp_path: Path) -> None:
    names = ["gallery.html", "figures/roc.png", "figures/grad_cam.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"of an older run")
    record = {
        "run": "x", "config": {"profile": "quick", "seed": 7}, "manifest": {"name": "m.csv", "scans": 60},
        "weights": {}, "steps": [{"name": "05_grad_cam", "status": "not done"}],
    }  # fmt: skip
    write_index(tmp_path / "index.html", record=record, links=[])
    text = (tmp_path / "index.html").read_text()
    assert "<img" not in text and "gallery" not in text
    record["steps"] = [{"name": "05_grad_cam", "status": "done", "outputs": [{"path": name} for name in names]}]
    write_index(tmp_path / "index.html", record=record, links=[])
    text = (tmp_path / "index.html").read_text()
    assert text.count("<img") == 2 and 'alt="roc"' in text and 'href="gallery.html"' in text
