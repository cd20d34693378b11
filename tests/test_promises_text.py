"""P2, P10, P14, P15: problems in one line, ids as text, no claim too many, text from outside that stays text."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import SmallCohort
from fabricated_run import make_run
from hypothesis import given, settings
from hypothesis import strategies as st

from bonescan_utils import cli
from bonescan_utils.files import CsvText, read_csv, read_json, read_text_csv, write_csv, write_json
from bonescan_utils.labelling.engine import LABELS
from bonescan_utils.labelling.readings import append_event, read_log
from bonescan_utils.manifest import COLUMNS, read_manifest, write_manifest
from bonescan_utils.manifest_rules import STUDY_COLUMNS, check_table
from bonescan_utils.problems import LINE, NOT_SHOWN, ManifestError, Problem
from bonescan_utils.report import write_index

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "bonescan_utils").rglob("*.py"))
ODD_IDS = [
    "0007",
    "1e5",
    "NA",
    "None",
    "null",
    "nan",
    "True",
    "-3",
    "1.0",
    "００７",
    "=1+1",
    "+a",
    "-a",
    "@a",
    "'=a",
    "\uff1d1",
]


def make_rows(**changes: str) -> dict[str, str]:
    row = dict.fromkeys(COLUMNS, "") | {"scan_id": "s1", "patient_id": "p1", "anterior": "a.dcm", "metastasis": "1"}
    return row | changes


def problems_of(*rows: dict[str, str]) -> list[Problem]:
    header = list(rows[0])
    table = CsvText(header, [[row[name] for name in header] for row in rows], list(range(2, len(rows) + 2)))
    return list(check_table("m.csv", table))


# ------------------------------------------------------------------------------------------- P2
LONG = "x" * 5000
FAULTS = [
    (make_rows(scan_id="a/b"), "scan_id"), (make_rows(patient_id=""), "patient_id"),
    (make_rows(anterior="../a.dcm"), "anterior"), (make_rows(posterior="http://x/a"), "posterior"),
    (make_rows(metastasis="maybe"), "metastasis"), (make_rows(age="forty"), "age"), (make_rows(sex="x"), "sex"),
    (make_rows(label_source=LONG), "label_source"), (make_rows(site="a\x1b[31m"), "site"),
    (make_rows(partition="validation"), "partition"), (make_rows(sha256_anterior="00"), "sha256_anterior"),
    (make_rows(anterior=""), "anterior"), (make_rows(patient_id="800101-1234567"), "patient_id"),
    (make_rows(patient_id=f"p{LONG}"), "patient_id"), (make_rows(tracer="Tc-99m"), "tracer"),
    (make_rows(counts_anterior="many"), "counts_anterior"), (make_rows(report_label="yes"), "report_label"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "column"), FAULTS)
def test_p02_a_problem_of_a_manifest_is_one_whole_line(row: dict[str, str], column: str) -> None:
    (problem,) = [found for found in problems_of(row) if found.column == column]
    text = str(problem)
    assert len(text) <= LINE and text.isprintable()
    assert text.startswith("m.csv, line 2") and f"column {column}" in text
    assert "expected" in text and text.rstrip().endswith(".")
    assert re.search(r"\. [A-Z][^.]+\.$|\(`bonescan ingest` makes them\)\.$", text), "what to do"


texts = st.text(max_size=700)


@given(texts, texts, texts, texts, texts, texts)
@settings(max_examples=60, deadline=None)
def test_p02_any_problem_is_one_line_and_keeps_what_to_do(
    file: str, scan_id: str, column: str, value: str, expected: str, hint: str
) -> None:
    text = str(Problem(file, 3, scan_id, column, value, expected, hint))
    assert len(text) <= LINE and text.isprintable()
    assert text.endswith(str(Problem("", hint=hint)).rpartition("expected . ")[2])


def test_the_end_of_a_long_path_is_shown() -> None:
    assert "the_file.dcm" in str(Problem("/deep" * 90 + "/the_file.dcm", expected="a scan"))


def test_p13_a_problem_shows_no_value_of_an_unknown_column_or_a_resident_number() -> None:
    for row in (make_rows(patient_name=LONG), make_rows(remark="secret\n"), make_rows(patient_id="800101-1234567")):
        told = " ".join(map(str, problems_of(row)))
        assert NOT_SHOWN in told and not re.search(r"x{9}|secret|800101|1234567", told)


def test_columns_of_a_study_have_the_words_that_ingest_writes() -> None:
    from bonescan_utils.ingest.vocabulary import TRACERS

    for column, words in {"tracer": [*TRACERS, "other"], "report_label": LABELS}.items():
        assert all(STUDY_COLUMNS[column].holds(word) for word in words)


# ------------------------------------------------------------------------------------------- P10
READERS = {"read_csv", "read_table", "read_fwf", "read_excel", "loadtxt", "genfromtxt", "DictReader", "fromregex"}


def calls(path: Path) -> set[str]:
    """Returns `module.function` of all calls of a function of a module."""
    found = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return {f"{f.value.id}.{f.attr}" for f in found if isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name)}


def test_p10_there_is_one_reader_of_tables() -> None:
    for path in PACKAGE:
        wrong = {name for name in calls(path) if name.split(".")[1] in READERS or name == "csv.reader"}
        assert wrong <= ({"csv.reader"} if path.name in ("files.py", "long_tables.py") else set()), path
        imported = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)]
        assert not [n for n in imported if n.module in ("csv", "pandas") for a in n.names if a.name in READERS], path
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        code = "".join("".join(cell["source"]) for cell in json.loads(notebook.read_text())["cells"])
        assert not re.search(r"\b(read_csv|read_table|DictReader|loadtxt)\b", code)


letters = st.characters(
    exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp", "Cf", "Cn", "Co"], exclude_characters='/\\:*?"<>|'
)
some = st.text(letters, min_size=1, max_size=12).filter(lambda text: text.isprintable() and text not in (".", ".."))
ids = st.lists(st.sampled_from(ODD_IDS) | some, min_size=1, max_size=6, unique_by=lambda text: text.casefold())
TABLES = ["cohort.csv", "predictions.csv", "quarantine.csv", "excluded.csv", "index.csv", "summary.csv"]


@given(ids)
@settings(max_examples=40, deadline=None)
def test_p10_ids_come_back_from_every_table_and_json(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("ids")
    columns = ("scan_id", "patient_id", "arm", "code", "unheard_of_id", "sha256_of_it")
    for name in TABLES:
        write_csv(folder / name, pd.DataFrame(dict.fromkeys(columns, names)).assign(y_score=0.5))
        back = read_csv(folder / name)
        assert all(back[column].tolist() == names for column in columns) and back["y_score"].dtype == float
    write_json(folder / "x.json", {"scan_ids": names})
    assert read_json(folder / "x.json")["scan_ids"] == names
    for name in names:
        append_event(folder / "log.csv", reader="A", scan_id=name, action="read", reading="normal")
    assert read_log(folder / "log.csv").events["scan_id"].tolist() == names


def test_p10_odd_ids_come_back_from_a_manifest(tmp_path: Path) -> None:
    names = [name for name in ODD_IDS if not set(name) & set('*?"<>|')]
    unlike = {name.casefold(): name for name in names if name not in ("００７", "\uff1d1")}  # read as 007, =1
    rows = [make_rows(scan_id=name, patient_id=name, anterior=f"{at}.dcm") for at, name in enumerate(unlike.values())]
    write_manifest(tmp_path / "m.csv", pd.DataFrame(rows))
    df = read_manifest(tmp_path / "m.csv")
    assert df["scan_id"].tolist() == list(unlike.values()) == df["patient_id"].tolist()


def test_p10_labels_keep_the_ids_of_the_reports(tmp_path: Path) -> None:
    write_csv(tmp_path / "r.csv", pd.DataFrame({"accession": ODD_IDS, "=column": ODD_IDS, "text": "No metastases."}))
    assert cli.main(["label", str(tmp_path / "r.csv"), "--out", str(tmp_path / "l.csv")]) == 0
    back = read_text_csv(tmp_path / "l.csv")
    assert back["accession"].tolist() == ODD_IDS == back["=column"].tolist()


# ------------------------------------------------------------------------------------------- P14
CLAIM = re.compile(r"de-?identif|anonymi[sz]|anonymous|비식별|익명", re.IGNORECASE)
ALLOWED = ('item: "De-identification"', "how the files were de-identified", "no de-identification", "not anonymity")


def test_p14_nothing_claims_that_patients_cannot_be_found() -> None:
    texts = [*PACKAGE, *(ROOT / "bonescan_utils/assets").glob("*.[!n]*"), *(ROOT / "docs").glob("*.md")]
    texts += [*(ROOT / "notebooks").glob("*.ipynb"), ROOT / "README.md", ROOT / "SECURITY.md"]
    for path in texts:
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not CLAIM.search(line) or any(words in line for words in ALLOWED), f"{path.name}: {line}"


# ------------------------------------------------------------------------------------------- P15
ATTACKS = {
    "script": "<script>alert(1)</script>", "img": "<img src=x onerror=alert(1)>", "svg": "<svg/onload=alert(1)>",
    "style": "</style><iframe src=//evil.example>", "attribute": '" onclick="alert(1)', "link": "javascript:alert(1)",
    "ansi": "\x1b]0;title\x07\x1b[2J", "direction": "\u202egpj.exe", "jinja": "{{7*191}}{% include '/etc/passwd' %}",
    "entity": "&lt;script&gt;", "end": "</script><script>alert(1)</script>", "null": "a\x00b",
}  # fmt: skip


class Elements(HTMLParser):
    """Counts what a browser would take for elements and handlers."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(sorted(name for name, _ in attrs))))


def report(folder: Path, words: list[str]) -> str:
    from bonescan_utils.reporting.page import write_report

    made = make_run(folder)
    cohort = read_text_csv(made / "cohort.csv")
    cells = [words[at % len(words)] for at in range(len(cohort))]
    write_csv(made / "cohort.csv", cohort.assign(site=cells, scanner=cells, primary_cancer=cells))
    return write_report(made).read_text(encoding="utf-8")


def index(folder: Path, words: list[str]) -> str:
    word = " ".join(words)
    record = {
        "run": word, "config": {"profile": word, "seed": 7}, "manifest": {"name": word, "scans": 60},
        "weights": {word: {"weights": word}}, "steps": [], "finished": word,
    }  # fmt: skip
    write_index(folder / "index.html", record=record, links=[(word, "notebooks/01_cohort.html")])
    return (folder / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("make", [report, index])
def test_p15_no_element_of_a_page_comes_from_the_input(make: Callable[[Path, list[str]], str], tmp_path: Path) -> None:
    for name in ("plain", "hostile"):
        (tmp_path / name).mkdir()
    plain = make(tmp_path / "plain", [f"word{at}" for at in range(len(ATTACKS))])
    hostile = make(tmp_path / "hostile", list(ATTACKS.values()))
    assert Elements(hostile).found == Elements(plain).found
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", hostile) and "1337" not in hostile


def test_p15_messages_on_a_terminal_are_inert(small_cohort: SmallCohort, capsys: Any) -> None:
    text = small_cohort.manifest.read_text()
    small_cohort.manifest.write_text(text.replace(",breast,", ",\x1b[2J\u202ebreast,"))
    assert cli.main(["check", str(small_cohort.manifest)]) == 2
    assert cli.main(["run", "--manifest", "\x1b[2Jabsent\x07.csv"]) == 2
    assert cli.main(["predict", "\x1b[2J.dcm", "--run", "\x1b]0;x\x07", "--out", "x"]) == 2
    said = capsys.readouterr()
    assert not re.search(r"[\x1b\x07\u202e]", said.out + said.err) and "\\x1b[2J" in said.out + said.err


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_p15_a_cell_or_a_column_is_no_formula_for_a_spreadsheet(start: str, tmp_path: Path) -> None:
    df = pd.DataFrame({"scan_id": [f"{start}1+1"], f"{start}name": ["x"], "y_score": [-0.5]})
    write_csv(tmp_path / "x.csv", df)
    raw = (tmp_path / "x.csv").read_bytes().decode()
    assert f"'{start}1+1" in raw and f"'{start}name" in raw and "-0.5" in raw and "'-0.5" not in raw
    back = read_csv(tmp_path / "x.csv")
    assert back["scan_id"].tolist() == [f"{start}1+1"] and back["y_score"].tolist() == [-0.5]
    assert back.columns[1] == f"{start}name".strip()


def test_p15_a_manifest_with_hostile_ids_is_refused(tmp_path: Path) -> None:
    for name in ("../../x", "a/b", "C:\\x", "\x1b[2J", "..", " x", "a\nb", "<script>"):
        with pytest.raises(ManifestError):
            write_manifest(tmp_path / "m.csv", pd.DataFrame([make_rows(scan_id=name)]))
    assert not list(tmp_path.iterdir())
