"""`bonescan label` and `bonescan review`: files in, files out, one line for what is wrong, no report text on screen."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from conftest import SmallCohort
from PIL import Image

from bonescan_utils import cli
from bonescan_utils.files import read_text_csv
from bonescan_utils.labelling import notebook

HEADER = ["report_id", "label", "cue", "span_start", "span_end", "sentence"]


def write_reports(folder: Path, texts: list[str]) -> Path:
    path = folder / "reports.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["report_id", "text"], *([f"{at:03d}", text] for at, text in enumerate(texts))])
    return path


def test_labels_are_written_row_by_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [
        "IMPRESSION:\nMultiple bone metastases.",
        "골전이를 배제할 수 없음.",
        "",
        "No bone metastasis.\nHong Gildong",
    ]
    reports, out = write_reports(tmp_path, texts), tmp_path / "labels.csv"
    assert cli.main(["label", str(reports), "--text-column", "text", "--out", str(out)]) == 0
    table = read_text_csv(out)
    assert list(table.columns) == HEADER and list(table["report_id"]) == ["000", "001", "002", "003"]
    assert list(table["label"]) == ["positive", "uncertain", "none", "negative"]
    for text, row in zip(texts, table.itertuples(), strict=True):
        assert text[int(row.span_start) : int(row.span_end)] == row.cue
    said = capsys.readouterr().out
    assert "4 reports: 1 positive, 1 uncertain, 1 negative, 0 historical, 1 none (1 of them empty)" in said
    assert "Hong" not in said and "Multiple" not in said


def test_explain_says_why_without_the_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reports = write_reports(tmp_path, ["Kim Cheolsu: no lesion suspicious for metastasis."])
    assert cli.main(["label", str(reports), "--explain", "--out", str(tmp_path / "x.csv")]) == 0
    said = capsys.readouterr().out
    assert "report 1: negative: decided by the findings" in said and "no -> negative" in said
    assert "Kim" not in said and "lesion" not in said


def test_explain_names_a_benign_finding_where_nothing_else_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = write_reports(tmp_path, ["Degenerative changes in knees.", "퇴행성 변화"])
    assert cli.main(["label", str(reports), "--explain", "--out", str(tmp_path / "x.csv")]) == 0
    said = capsys.readouterr().out
    assert "findings, characters 0-12: none (a benign finding)" in said and "characters 0-3: none" in said


def test_a_spreadsheet_runs_nothing_of_a_report(tmp_path: Path) -> None:
    texts = [
        '=HYPERLINK("http://x","no metastasis")',
        "@SUM(1) no metastasis",
        "+no metastasis",
        "-no metastasis\x1b[31m",
    ]
    out = tmp_path / "labels.csv"
    assert cli.main(["label", str(write_reports(tmp_path, texts)), "--out", str(out)]) == 0
    with out.open(encoding="utf-8", newline="") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "@", "+", "-", "\t", "\r"))]
    assert "\x1b" not in out.read_text(encoding="utf-8") and "negative" in cells


def test_a_lexicon_of_ones_own(tmp_path: Path) -> None:
    lexicon = tmp_path / "ours.yaml"
    lexicon.write_text("targets: [골파종]\n", encoding="utf-8")
    reports, out = write_reports(tmp_path, ["다발성 골파종."]), tmp_path / "labels.csv"
    for options, label in ([], "none"), (["--lexicon", str(lexicon)], "positive"):
        assert cli.main(["label", str(reports), "--lang", "ko", *options, "--out", str(out)]) == 0
        assert list(read_text_csv(out)["label"]) == [label]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["absent.csv", "--out", "x.csv"], "absent.csv, line 1: no such file"),
        (["reports.csv", "--text-column", "report", "--out", "x.csv"], "'report' is not in the reports; they have:"),
        (["reports.csv", "--lexicon", "absent.yaml", "--out", "x.csv"], "absent.yaml: cannot be read"),
        (["reports.csv", "--out", "reports.csv"], "it is the file of the reports"),
        (["reports.csv", "--out", "."], "a folder; name a file in it"),
        (["reports.csv", "--out", "reports.csv/x.csv"], "its folder is a file; name another place"),
    ],
)
def test_bad_input_is_told_and_nothing_is_written(
    options: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_reports(tmp_path, ["Bone metastasis."])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert cli.main(["label", *options]) == 2
    assert words in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_review_writes_a_notebook_for_the_reader(small_cohort: SmallCohort, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["review", str(small_cohort.manifest), "--no-open", "--sample", "3"]
    assert cli.main([*options, "--reader", "A"]) == cli.main([*options, "--reader", "B"]) == 0
    folder = small_cohort.root / "review"
    samples = [
        next(line for line in source(path, 1).splitlines() if line.startswith("scan_ids"))
        for path in (folder / "review_A.ipynb", folder / "review_B.ipynb")
    ]
    assert samples[0] == samples[1] and samples[0].count("s0") == 3
    assert "3 scans for reader A" in capsys.readouterr().out and not (folder / "readings.csv").exists()


def test_a_manifest_without_labels_as_ingest_makes_it_can_be_reviewed(small_cohort: SmallCohort) -> None:
    table = read_text_csv(small_cohort.manifest).assign(metastasis="", pixel_mm_row="2.4", pixel_mm_column="1.2")
    table.to_csv(small_cohort.manifest, index=False)
    assert cli.main(["review", str(small_cohort.manifest), "--no-open", "--reader", "A", "--sample", "3"]) == 0
    names: dict[str, object] = {}
    for cell in (1, 2):
        exec(source(small_cohort.root / "review/review_A.ipynb", cell), names)
    panel = notebook.manifest_panel(small_cohort.manifest, log=small_cohort.root / "log.csv", reader="A")
    assert len(panel.order) == 8 and panel.shown


def test_the_panel_takes_the_pixel_size_that_the_manifest_states(small_cohort: SmallCohort, tmp_path: Path) -> None:
    scan_id, row = "s0000", {"anterior": "a.png", "posterior": "", "sha256_anterior": "", "sha256_posterior": ""}
    Image.fromarray(small_cohort.scans[scan_id].views[0].counts).save(small_cohort.root / "a.png")  # 128 x 32
    table = read_text_csv(small_cohort.manifest).query("scan_id == @scan_id").assign(**row)
    widths = []
    for wide in ("2.4", "1.2"):
        table.assign(pixel_mm_row="2.4", pixel_mm_column=wide).to_csv(small_cohort.root / "m.csv", index=False)
        panel = notebook.manifest_panel(small_cohort.root / "m.csv", log=tmp_path / "log.csv", reader="A")
        widths.append(int(panel.pictures["anterior"].layout.width.removesuffix("px")))
    assert widths[0] == pytest.approx(2 * widths[1], abs=1)


def source(path: Path, cell: int) -> str:
    text = json.loads(path.read_text(encoding="utf-8"))["cells"][cell]["source"]
    assert isinstance(text, str)
    return text


def test_review_opens_jupyterlab_on_it(small_cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr("subprocess.call", lambda command: called.append(command) or 0)
    assert cli.main(["review", str(small_cohort.manifest), "--out", str(small_cohort.root / "r")]) == 0
    assert called[0][1:3] == ["-m", "jupyterlab"] and called[0][3].endswith("review_A.ipynb")


@pytest.mark.parametrize(
    ("options", "words"), [(["--reader", "Hong Gildong"], "code name"), (["--out", "damaged"], "log of readings")]
)
def test_review_refuses_a_name_and_a_damaged_log(
    options: list[str], words: str, small_cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(small_cohort.root)
    Path("damaged").mkdir()
    Path("damaged/readings.csv").write_text("a,b\n1,2\n")
    assert cli.main(["review", str(small_cohort.manifest), "--no-open", *options]) == 2
    assert words in capsys.readouterr().err
