"""Each fault of reports and lexicons: a table that cannot be read is refused, an odd report is told of alone."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from vendor_files import siemens_ecam

from bonescan_utils import cli
from bonescan_utils.files import read_csv, read_text_csv
from bonescan_utils.ingest.keys import load_key
from bonescan_utils.labelling.engine import LABELS

REPORTS = (
    "accession,patient_id,date,text\nACCA1,A,2021-03-16,결론: 다발성 골전이\nACCB1,B,2021-03-16,No bone metastasis.\n"
)
FILE_FAULTS: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "reports.csv, line 1: no such file; check the path"),
    "empty": (b"", "line 1: the file is empty; expected a header and rows"),
    "header only": (REPORTS.splitlines()[0].encode(), "a header and no rows; expected at least one report"),
    "cp949": (REPORTS.encode("cp949"), "line 2: not UTF-8 text; re-save the table as 'CSV UTF-8'"),
    "UTF-16": (REPORTS.encode("utf-16"), "line 1: it holds UTF-16 text, Excel's 'Unicode text'; save the table"),
    "Latin-1": ("accession,text\nA,metástasis\n".encode("latin-1"), "line 2: not UTF-8 text"),
    "Excel workbook": (b"PK\x03\x04" + bytes(99), "line 1: it holds a ZIP archive (an Excel workbook is one as well)"),
    "web page": (b"<!doctype html><title>Sign in</title>", "line 1: it holds an HTML or XML page"),
    "semicolons": (REPORTS.replace(",", ";").encode(), "line 1: semicolons between the columns; save it with commas"),
    "tabs": (REPORTS.replace(",", "\t").encode(), "line 1: tabs between the columns; save it with commas"),
    "a comma in a text": (
        REPORTS.replace("No bone", "No, bone").encode(),
        "line 3: 5 fields where the header has 4 (line 3); put cells with a comma or a line break in double quotes",
    ),
    "a row too short": (f"{REPORTS}ACCC1\n".encode(), "line 4: 1 fields where the header has 4"),
    "a quote not closed": (REPORTS.replace("결론", '"결론').encode(), "line 2: unexpected end of data: look for a"),
    "a column twice": (REPORTS.replace("patient_id", "text", 1).encode(), "line 1: column 'text' appears twice"),
}  # fmt: skip
"""Fault -> the file of the reports, and words of the one line that refuses it."""


def without_outputs(folder: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Runs a command that must refuse its input and leave the folder as it was; returns what it said."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert cli.main(command) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err and max(map(len, said.err.splitlines())) <= 500
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    return said.out + said.err


@pytest.mark.parametrize("name", FILE_FAULTS)
def test_reports_that_are_no_table_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    content, words = FILE_FAULTS[name]
    (tmp_path / "pacs").mkdir()
    reports, key = tmp_path / "reports.csv", tmp_path / "k/k"
    if content is not None:
        reports.write_bytes(content)
    assert words in without_outputs(
        tmp_path, ["label", str(reports), "--lang", "en", "--out", str(tmp_path / "l.csv")], capsys
    )
    load_key(key, output=tmp_path / "b")  # made before, so that the command has nothing to write
    command = ["ingest", str(tmp_path / "pacs"), "--out", str(tmp_path / "b/m.csv"), "--key", str(key)]
    assert words in without_outputs(tmp_path, [*command, "--reports", str(reports)], capsys)
    assert not (tmp_path / "b").exists()


# ------------------------------------------------------------------------------------------- odd texts
ODD_TEXTS: dict[str, tuple[str, str]] = {
    "empty": ("", "none"),
    "spaces": (" \n ", "none"),
    "NUL": ("No bone\0 metastasis.", "negative"),
    "terminal codes": ("\x1b[31mBone metastasis.\x1b[0m", "positive"),
    "direction marks": ("\u202eBone metastasis.", "positive"),
    "formula": ("=HYPERLINK(1) No bone metastasis.", "negative"),
    "decomposed Hangul": ("\u1100\u1169\u11af\u110c\u1165\u11ab\u110b\u1175", "positive"),
    "full width": ("Ｎｏ ｂｏｎｅ ｍｅｔａｓｔａｓｉｓ.", "negative"),
    "lone surrogate of a bad converter": ("No bone metastasis \ufffd\ufffd.", "negative"),
    "other language": ("骨転移あり。", "none"),
    "both languages": ("FINDINGS: uptake in L3.\n결론: bone metastasis 를 배제할 수 없음.", "uncertain"),
    "line breaks of Windows": ("Findings:\r\nUptake.\r\nImpression:\r\nNo bone metastasis.\r\n", "negative"),
    "markup": ("<b>No bone metastasis.</b>", "negative"),
    "long": ("Degenerative change. " * 3000 + "\nIMPRESSION: Bone metastasis.", "positive"),
}
"""What is odd -> a text and its label."""


def test_odd_texts_are_labelled_row_by_row_and_none_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reports, out = tmp_path / "r.csv", tmp_path / "l.csv"
    with reports.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["name", "text"], *((name, text) for name, (text, _) in ODD_TEXTS.items())])
    assert cli.main(["label", str(reports), "--out", str(out), "--explain"]) == 0
    table = read_text_csv(out)
    assert dict(zip(table["name"], table["label"], strict=True)) == {n: label for n, (_, label) in ODD_TEXTS.items()}
    said = capsys.readouterr().out
    counts = [int(word) for word in said.split(f"{len(ODD_TEXTS)} reports: ")[1].split() if word.isdecimal()]
    assert sum(counts[: len(LABELS)]) == len(ODD_TEXTS) and "(2 of them empty)" in said
    assert "\x1b" not in said and "\x1b" not in out.read_text(encoding="utf-8")
    for (text, label), row in zip(ODD_TEXTS.values(), table.to_dict("records"), strict=True):
        assert label == "none" or text[int(row["span_start"]) : int(row["span_end"])]


# ------------------------------------------------------------------------------------------- reports and their scans
ROW_FAULTS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "no study of it": ("NONE,,2021-03-16,positive", [("report_unlinked", "no scan has its number")]),
    "nothing to find it by": (",,,", [("report_unlinked", "no scan has its number, or its patient and date")]),
    "an impossible date": (",C,2021-02-30,positive", [("report_date", "no day up to today"), ("report_unlinked", "")]),
    "a date to come": (",C,2999-01-01,positive", [("report_date", "no day up to today"), ("report_unlinked", "")]),
    "a report of long after": (",C,2021-06-01,positive", [("report_unlinked", "its patient and date")]),
    "a label of another kind": ("ACCD1,,2021-03-16,KIM", [("report_label", "none of positive, uncertain, negative")]),
    "a second report": ("ACCA1,,2021-03-17,negative", [("report_second", "has another report already")]),
    "two scans fit": (",E,2021-03-16,positive", [("report_ambiguous", "several scans fit it")]),
}
"""Fault -> a report (accession, patient_id, date, label), and the code and words of its rows in quarantine."""


def test_reports_that_do_not_fit_are_set_aside_and_the_others_find_their_scans(tmp_path: Path) -> None:
    for at, patient in enumerate("ABCD"):
        siemens_ecam(tmp_path / f"pacs/{patient}", at, patient=patient)  # accession ACC<patient>1, 2021-03-15
    for at in (8, 9):
        siemens_ecam(tmp_path / f"pacs/E{at}", at, patient="E", study=str(at))
    good = ["ACCA1,,2021-03-16,positive", ",b,20210315,Negative"]
    lines = [*good, *(line for line, _ in ROW_FAULTS.values())]
    (tmp_path / "r.csv").write_text("accession,patient_id,date,label\n" + "\n".join(lines))
    command = ["ingest", str(tmp_path / "pacs"), "--out", str(tmp_path / "o/m.csv"), "--key", str(tmp_path / "k/k")]
    assert cli.main([*command, "--reports", str(tmp_path / "r.csv"), "--jobs", "1"]) == 2
    aside = read_text_csv(tmp_path / "o/m_quarantine.csv")
    found = aside[aside["file"] == "reports"]
    wanted = [(str(row), code) for row, (_, told) in enumerate(ROW_FAULTS.values(), start=4) for code, _ in told]
    assert list(zip(found["row"], found["code"], strict=True)) == wanted
    words = [text for _, told in ROW_FAULTS.values() for _, text in told]
    assert all(text in reason for text, reason in zip(words, found["reason"], strict=True))
    assert (found["next_step"] != "").all() and not found["reason"].str.contains("KIM").any()
    scans = read_text_csv(tmp_path / "o/m.csv")
    linked = scans[scans["report_row"] != ""].set_index("report_row")
    assert len(scans) == 6 and linked["report_label"].to_dict() == {"2": "positive", "3": "negative", "9": ""}
    assert found.loc[found["code"] == "report_label", "scan_id"].tolist() == [linked.loc["9", "scan_id"]]
    assert read_csv(tmp_path / "o/m_flow.csv")["n"].tolist() == [6, 6, 6, 6]


# ------------------------------------------------------------------------------------------- lexicons
LEXICON_FAULTS: dict[str, tuple[str | bytes | None, str]] = {
    "missing": (None, "cannot be read"),
    "cut short": ("targets: [no", "line 1: not YAML"),
    "cp949": ("targets: [골파종]".encode("cp949"), "not YAML in UTF-8"),
    "a list": ("- a", "found list; expected a mapping"),
    "unknown key": ("target: [x]", "'target': expected one of targets"),
    "text for a list": ("targets: x", "targets: found str; expected a list"),
    "no text": ("targets: [yes]", "item 1: found 'True'; expected text; put it in quotes"),
    "gap at the end": ("targets: ['... x']", "words at both ends"),
    "empty phrase": ("targets: ['']", "expected 1 to 120"),
    "unknown meaning": ("cues: [{means: maybe, direction: up, window: 99, phrases: [x]}]", "means: found 'maybe'"),
    "half a cue": ("cues: [{means: positive, phrases: [x]}]", "expected means, direction, window and phrases"),
    "no window": ("cues: [{means: positive, direction: both, window: true, phrases: []}]", "window: found 'True'"),
    "unknown section": ("sections: {summary: [x]}", "sections: expected only impression, findings, history"),
    "alias": ("a: &a [x]\ntargets: *a", "without aliases"),
    "program": ("!!python/object/apply:os.system ['true']", "not YAML"),
    "deep": ("[" * 5000, "not YAML"),
    "large": ("#" * ((1 << 20) + 1), "more than 1,048,576 bytes"),
}
"""Fault -> the file, and words of its refusal."""


@pytest.mark.parametrize("name", LEXICON_FAULTS)
def test_a_lexicon_that_breaks_the_form_is_told_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    content, words = LEXICON_FAULTS[name]
    path, reports = tmp_path / "ours.yaml", tmp_path / "r.csv"
    reports.write_text(REPORTS, encoding="utf-8")
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    command = ["label", str(reports), "--out", str(tmp_path / "l.csv"), "--lang", "en", "--lexicon", str(path)]
    said = without_outputs(tmp_path, command, capsys)
    assert "ours.yaml" in said and words in said and len(said) < 2000
