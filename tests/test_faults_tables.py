"""Each fault of a manifest: it is refused before an image is opened, with every line that is wrong and what to do."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SmallCohort, make_cohort
from test_manifest import save

from bonescan_utils import cli, cohort
from bonescan_utils.files import read_text_csv
from bonescan_utils.manifest import COLUMNS
from bonescan_utils.problems import NOT_SHOWN

Rows = list[dict[str, str]]
Cells = dict[tuple[int, str], str]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> SmallCohort:
    """A cohort of six scans without a fault, with partitions; the path of its manifest is free for another one."""
    made = make_cohort(tmp_path_factory.mktemp("tables"), n=6, rows=64, columns=16)
    made.df["partition"] = "train train tuning tuning test test".split()
    return made


def rows_of(made: SmallCohort) -> Rows:
    return made.df.astype(str).to_dict("records")  # type: ignore[return-value]


def refused(path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Checks a manifest that cannot be used; returns its problems, a line each, and that nothing was written."""
    before = sorted(path.parent.rglob("*"))
    assert cli.main(["check", str(path)]) == 2
    said = capsys.readouterr()
    lines = [line for line in said.out.splitlines() if line]
    assert all(len(line) <= 500 and line.startswith(str(path)) for line in lines), said.out
    assert f"{len(lines)} problem" in said.err and "Traceback" not in said.err
    assert sorted(path.parent.rglob("*")) == before
    return lines


def test_the_cohort_without_a_fault_passes(sound: SmallCohort, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(save(sound.root / "m.csv", rows_of(sound)))]) == 0
    assert (
        "no problem found; 6 scans of 6 patients, 3 with metastasis, 2 train / 2 tuning / 2" in capsys.readouterr().out
    )


# ------------------------------------------------------------------------------------------- the file as a whole
def without(name: str) -> Callable[[str], str]:
    """Returns what takes a column out of the table."""
    at = COLUMNS.index(name)
    return lambda text: "\n".join(
        ",".join(cell for place, cell in enumerate(line.split(",")) if place != at) for line in text.splitlines()
    )


def with_column(name: str, cell: str = "x") -> Callable[[str], str]:
    """Returns what adds a column to the table."""
    return lambda text: "\n".join(f"{line},{cell if at else name}" for at, line in enumerate(text.splitlines()))


def workbook(text: str) -> bytes:
    from io import BytesIO

    with zipfile.ZipFile(stream := BytesIO(), "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", text)
    return stream.getvalue()


def line_changed(at: int, change: Callable[[str], str]) -> Callable[[str], str]:
    """Returns what changes the line with this number, from 1."""
    return lambda text: "\n".join(
        change(line) if number == at else line for number, line in enumerate(text.splitlines(), start=1)
    )


FILE_FAULTS: dict[str, tuple[Callable[[str], str | bytes | None], list[str]]] = {
    "missing": (lambda text: None, ["line 1: expected a CSV table. No such file; check the path"]),
    "empty": (lambda text: b"", ["The file is empty; expected a header and rows"]),
    "blank lines": (lambda text: "\n \n", ["The file is empty"]),
    "header only": (lambda text: text.splitlines()[0], ["expected at least one scan"]),
    "cp949": (
        lambda text: text.replace("prostate", "전립선암").encode("cp949"),
        ["line 2: expected a CSV table. Not UTF-8 text; re-save the table as 'CSV UTF-8'."],
    ),
    "UTF-16": (lambda text: text.encode("utf-16"), ["UTF-16 text, Excel's 'Unicode text'; save the table as 'CSV UTF"]),
    "Excel workbook": (workbook, ["a ZIP archive (an Excel workbook is one as well); save the table as 'CSV UTF-8'"]),
    "old workbook": (lambda text: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(999), ["an old Office document"]),
    "web page": (lambda text: "<html><body>Sign in</body></html>", ["It holds an HTML or XML page"]),
    "pointer": (lambda text: "version https://git-lfs.github.com/spec/v1\n", ["It holds a Git LFS pointer"]),
    "semicolons": (lambda text: text.replace(",", ";"), ["Semicolons between the columns; save it with commas"]),
    "tabs": (lambda text: text.replace(",", "\t"), ["Tabs between the columns; save it with commas"]),
    "a separator named": (lambda text: "sep=,\n" + text, ["line 1: found 'sep=, '; expected the columns scan_id, pat"]),
    "a title above": (lambda text: "My cohort\n" + text, ["found 'My cohort'; expected the columns scan_id, patient"]),
    "a column missing": (without("sex"), ["column sex: found ''; expected this column. The columns are: scan_id, "]),
    "two missing": (
        lambda text: without("age")(text).replace("sex", "gender", 1),
        ["column age: found ''; expected this column", "column sex: found ''; expected this column"],
    ),
    "a column twice": (with_column("site"), ["column site: found '2 times'; expected one such column"]),
    "a column without a name": (with_column("", ""), ["expected a name for every column. Is there a comma too many?"]),
    "a column of names": (
        with_column("Patient_Name", "Kim"), ["line 1, column Patient_Name", "no column that identifies a person"],
    ),
    "a row too long": (
        line_changed(3, lambda line: f"{line},x"),
        ["line 3: expected 14 fields and closed quotes. Found 15 fields where the header has 14; put cells with"],
    ),
    "rows too short": (
        lambda text: line_changed(3, lambda line: "s,P")(line_changed(5, lambda line: "s")(text)),
        ["line 3: expected 14 fields", "line 5: expected 14 fields"],
    ),
    "a quote not closed": (
        line_changed(6, lambda line: line.replace("breast", '"breast').replace("lung", '"lung')),
        ["line 6: expected 14 fields and closed quotes", "look for a quote that is not closed"],
    ),
}  # fmt: skip
"""Fault -> what makes the file of the text of a sound one, and words that its problems hold."""


@pytest.mark.parametrize("name", FILE_FAULTS)
def test_a_fault_of_the_file_is_told_before_an_image_is_opened(
    sound: SmallCohort, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(cohort, "ingest", None)
    change, words = FILE_FAULTS[name]
    content = change(save(tmp_path / "m.csv", rows_of(sound)).read_text())
    (tmp_path / "m.csv").unlink()
    if content is not None:
        (tmp_path / "m.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    lines = refused(tmp_path / "m.csv", capsys)
    assert all(any(word in line for line in lines) for word in words), lines
    assert len(lines) == len({line.split(":")[0] for line in lines}), "a line each, none twice"
    assert "Kim" not in " ".join(lines)


# ------------------------------------------------------------------------------------------- rows
PARTITION = "expected all scans of a patient in one partition. See also line 2."
LABEL = "expected 0 or 1. An unknown label is not 0: leave the scan out or settle it."
PATH = "expected a relative path with / that stays under the manifest's folder"

ROW_FAULTS: dict[str, tuple[Cells, list[tuple[int, str]]]] = {
    "one id twice": ({(3, "scan_id"): "s0000"}, [(5, "an id of its own for each scan. See also line 2.")]),
    "one id in two cases": ({(3, "scan_id"): "S0000"}, [(5, "column scan_id: found 'S0000'; expected an id of its")]),
    "ids that Excel rounded": (
        {(0, "scan_id"): "1.23E+11", (1, "scan_id"): "1.23E+11"}, [(3, "found '1.23E+11'; expected an id of its own")],
    ),
    "one file with two labels": (
        {(1, "anterior"): "scans/s0000.dcm", (1, "posterior"): "scans/./s0000.dcm"},
        [(3, "a file that no other row names. See also line 2."), (3, "column posterior: found 'scans/./s0000.dcm'")],
    ),
    "one content of two patients": (
        {(0, "sha256_anterior"): "a" * 64, (1, "sha256_anterior"): "a" * 64},
        [(3, "expected a content that no other row has. See also line 2.")],
    ),
    "a patient in two partitions": ({(4, "patient_id"): "P0000"}, [(6, PARTITION)]),
    "by case": ({(4, "patient_id"): "p0000"}, [(6, PARTITION)]),
    "by full width": ({(4, "patient_id"): "Ｐ００００"}, [(6, PARTITION)]),
    "by space": (
        {(4, "patient_id"): " P0000"}, [(6, PARTITION), (6, "column patient_id: found ' P0000'; expected 1 to 64")],
    ),
    "partitions in part": ({(5, "partition"): ""}, [(7, "a partition in every row or in none. 1 are blank.")]),
    "partition of another name": ({(5, "partition"): "validation"}, [(7, "expected train, tuning, test, or nothing")]),
    "label unknown": ({(2, "metastasis"): "maybe"}, [(4, f"column metastasis: found 'maybe'; {LABEL}")]),
    "label blank": ({(2, "metastasis"): ""}, [(4, f"found ''; {LABEL}")]),
    "label of pandas": ({(2, "metastasis"): "nan", (3, "metastasis"): "1.0"}, [(4, LABEL), (5, LABEL)]),
    "label of Excel": ({(2, "metastasis"): "TRUE", (3, "metastasis"): "#N/A"}, [(4, LABEL), (5, LABEL)]),
    "label in full width": ({(2, "metastasis"): "１"}, [(4, LABEL)]),
    "ages": (
        {(0, "age"): "999", (1, "age"): "-1", (2, "age"): "forty", (3, "age"): "1961-02-30"},
        [(line, "expected years from 0 to 120, or nothing") for line in (2, 3, 4, 5)],
    ),
    "sex": ({(0, "sex"): "male"}, [(2, "found 'male'; expected F, M, O, or nothing")]),
    "absolute path": ({(0, "anterior"): "/etc/passwd"}, [(2, PATH)]),
    "path out": ({(0, "anterior"): "a/../../x.dcm"}, [(2, PATH)]),
    "address": ({(0, "anterior"): "https://host/x.dcm"}, [(2, PATH)]),
    "device": ({(0, "anterior"): "/dev/zero"}, [(2, PATH)]),
    "path of Windows": ({(0, "anterior"): "scans\\x.dcm", (1, "anterior"): "C:/x.dcm"}, [(2, PATH), (3, PATH)]),
    "no file": ({(0, "anterior"): "", (0, "posterior"): ""}, [(2, "expected a file in anterior, posterior or both")]),
    "hash": ({(0, "sha256_anterior"): "abc"}, [(2, "expected 64 hexadecimal digits in lower case, or nothing")]),
    "resident number": ({(0, "patient_id"): "800101-1234567"}, [(2, f"found '{NOT_SHOWN}'; expected a pseudonym")]),
    "control character": ({(0, "site"): "a\x1b[31m"}, [(2, "found 'a\\\\x1b[31m'; expected at most 200 characters")]),
    "many at once": (
        {(0, "metastasis"): "2", (1, "age"): "999", (2, "sex"): "x", (3, "scan_id"): "a/b", (4, "partition"): "t"},
        [(line, "expected") for line in (2, 3, 4, 5, 6)],
    ),
}  # fmt: skip
"""Fault -> cells by row (from 0) and column, and line and words of each of its problems."""


@pytest.mark.parametrize("name", ROW_FAULTS)
def test_a_fault_of_rows_is_told_with_its_lines_before_an_image_is_opened(
    sound: SmallCohort, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(cohort, "ingest", None)
    cells, told = ROW_FAULTS[name]
    rows = rows_of(sound)
    for (at, column), value in cells.items():
        rows[at][column] = value
    lines = refused(save(tmp_path / "m.csv", rows), capsys)
    assert len(lines) == len(told), lines
    for number, words in told:
        assert any(f"line {number}," in line and words in line for line in lines), (number, words, lines)


# ------------------------------------------------------------------------------------------- rows and files together
def test_files_that_are_not_there_are_told_in_one_list_and_the_others_are_read(
    sound: SmallCohort, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows, root = rows_of(sound), sound.root
    (root / "out.dcm").symlink_to("/etc/passwd")
    (root / "late.dcm").write_bytes(b"<html>")
    for at, given in enumerate(("gone.dcm", "scans", "out.dcm", "late.dcm")):
        rows[at] |= {"anterior": given, "posterior": given, "sha256_anterior": "", "sha256_posterior": ""}
    lines = refused(save(root / "m.csv", rows), capsys)
    words = ["expected a file that exists", "expected a regular file", f"expected a file under {root.resolve()}"]
    words.append("expected a usable bone scan, but: an HTML or XML page")
    assert len(lines) == 4 and all(word in line for word, line in zip(words, lines, strict=True)), lines
    assert all(f"line {at}" in line for at, line in enumerate(lines, start=2))
    code = cli.main(["check", str(root / "m.csv"), "--problems", str(tmp_path / "all.csv")])
    assert code == 2 and read_text_csv(tmp_path / "all.csv")["value"].tolist() == [row["anterior"] for row in rows[:4]]


def test_a_wrong_folder_is_guessed(sound: SmallCohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = refused(save(tmp_path / "m.csv", rows_of(sound)), capsys)
    assert len(lines) == 7 and f"All 6 files are absent: is {tmp_path} the right folder?" in lines[0]


@pytest.mark.parametrize(("label", "shown"), [("0", "labels [0]"), ("1", "labels [1]")])
def test_one_label_in_train_is_refused_where_partitions_are_given(
    sound: SmallCohort, capsys: pytest.CaptureFixture[str], label: str, shown: str
) -> None:
    rows = rows_of(sound)
    rows[0]["metastasis"] = rows[1]["metastasis"] = label
    (line,) = refused(save(sound.root / "m.csv", rows), capsys)
    assert f"column metastasis: found '{shown} in train'; expected both labels in train" in line
