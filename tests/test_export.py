"""The submission folder: widths, formats, the same bytes again; Word and LaTeX tables say what the CSV says."""

from __future__ import annotations

import csv
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from docx import Document
from fabricated_run import HOSTILE, make_run
from PIL import Image

from bonescan_utils import cli
from bonescan_utils.commands import export as command
from bonescan_utils.files import read_csv, sha256_file
from bonescan_utils.profiles import StudyError
from bonescan_utils.reporting.export import CONTENTS, export_run
from bonescan_utils.reporting.readable import readable
from bonescan_utils.style import COLUMN_MM, JOURNALS, PAGE_MM, new_figure, widths_of

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two drawn figures and the copied one."""
    folder = make_run(tmp_path_factory.mktemp("runs") / "run", hostile=True)
    for name in ("metrics", "roc_proposed"):
        (folder / "tables" / f"{name}.csv").unlink()
    return folder


@pytest.fixture(scope="module")
def out(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "elsevier"
    export_run(run, journal="elsevier", out=folder)
    return folder


def files_of(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): sha256_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}


# ---------------------------------------------------------------------------------------------- journals
@pytest.mark.parametrize(
    ("journal", "asked", "width"),
    [
        ("elsevier", COLUMN_MM, 90), ("elsevier", PAGE_MM, 190), ("elsevier", PAGE_MM * 2 / 3, 140),
        ("elsevier", PAGE_MM / 3, 90), ("springer", COLUMN_MM, 84), ("springer", PAGE_MM, 174),
        ("springer", PAGE_MM * 2 / 3, 174), ("nature", COLUMN_MM, 89), ("nature", PAGE_MM, 183),
    ],
)  # fmt: skip
def test_a_figure_is_as_wide_as_a_journal_prints_it(journal: str, asked: float, width: float) -> None:
    with widths_of(journal):
        assert new_figure(asked, 50).get_figwidth() * 25.4 == pytest.approx(width)
    assert new_figure(asked, 50).get_figwidth() * 25.4 == pytest.approx(asked), "and as before outside"


def test_the_command_knows_every_journal() -> None:
    assert set(command.JOURNALS) == set(JOURNALS)


# ----------------------------------------------------------------------------------------------- figures
def test_every_format_has_the_width_of_the_journal(out: Path) -> None:
    stem = out / "figures" / "figure_01_flow"
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ", stem.with_suffix(".pdf").read_bytes())
    assert box is not None and float(box.group(1)) / 72 * 25.4 == pytest.approx(190, abs=0.1)
    root = ET.fromstring(stem.with_suffix(".svg").read_text(encoding="utf-8"))
    assert float(root.attrib["width"].removesuffix("pt")) / 72 * 25.4 == pytest.approx(190, abs=0.1)
    for suffix, dots in ((".tiff", 600), (".png", 300)):
        with Image.open(stem.with_suffix(suffix)) as picture:
            assert picture.width / dots * 25.4 == pytest.approx(190, abs=0.2)
            assert picture.info["dpi"] == pytest.approx((dots, dots), abs=0.1)
    with Image.open(stem.with_suffix(".tiff")) as picture:
        assert picture.mode == "RGB" and picture.info["compression"] == "tiff_lzw"


def test_text_in_figures_stays_text(out: Path) -> None:
    root = ET.fromstring((out / "figures" / "figure_01_flow.svg").read_text(encoding="utf-8"))
    words = " ".join("".join(text.itertext()) for text in root.iter(f"{SVG}text"))
    assert "Scans in the manifest" in words and "alert('x')" in words and root.find(f".//{SVG}script") is None
    pdf = (out / "figures" / "figure_01_flow.pdf").read_bytes()
    assert b"/TrueType" in pdf or b"/CIDFontType2" in pdf
    assert b"/Type3" not in pdf and b"CreationDate" not in pdf


def test_a_figure_made_from_scans_is_taken_over(run: Path, out: Path) -> None:
    copied = next((out / "figures").glob("*_montage.png"))
    assert copied.read_bytes() == (run / "figures" / "montage.png").read_bytes()
    assert not list((out / "figures").glob("*_montage.tiff"))


# ------------------------------------------------------------------------------------------------ folder
def test_the_same_run_gives_the_same_bytes(run: Path, out: Path, tmp_path: Path) -> None:
    export_run(run, journal="elsevier", out=tmp_path / "again")
    assert files_of(tmp_path / "again") == files_of(out)


def test_the_list_names_every_file(out: Path) -> None:
    with (out / CONTENTS).open(encoding="utf-8", newline="") as stream:
        listed = {row["file"] for row in csv.DictReader(stream)}
    assert listed | {CONTENTS} == set(files_of(out))


def test_an_earlier_export_is_replaced_and_other_files_are_not(run: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no export"):
        export_run(run, journal="nature", out=run)
    target = tmp_path / "out"
    target.mkdir()
    (target / CONTENTS).write_text("file,what\nold.txt,x\n../kept.txt,x\n")
    for name in ("old.txt", "mine.txt", "../kept.txt"):
        (target / name).write_text("x")
    export_run(run, journal="nature", out=target)
    assert (target / "mine.txt").exists() and (tmp_path / "kept.txt").exists() and not (target / "old.txt").exists()


def test_export_command(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(tmp_path), "--out", str(tmp_path / "x")]) == 2
    assert "run.json" in capsys.readouterr().err and not (tmp_path / "x").exists()
    with pytest.raises(SystemExit):
        cli.main(["export", str(run), "--journal", "plos", "--out", str(tmp_path / "x")])


# ------------------------------------------------------------------------------------------------ tables
def test_word_tables_hold_what_the_run_found(run: Path, out: Path) -> None:
    document = Document(str(out / "tables.docx"))
    captions = [p.text for p in document.paragraphs if p.text.startswith("Table ")]
    assert len(captions) == len(document.tables) and captions[0] == "Table 1. Flow of scans."
    place = next(i for i, text in enumerate(captions) if "Test results of the study's arm" in text)
    expected = readable(read_csv(run / "tables" / "metrics_proposed.csv"))
    found = [[cell.text for cell in row.cells] for row in document.tables[place].rows]
    assert found == [list(expected.columns), *expected.to_numpy().tolist()]
    notes = " ".join(p.text for p in document.paragraphs)
    assert "DeLong (AUROC)" in notes and "not clinical data" in notes and "Rounding, one rule" in notes


def test_csv_and_latex_of_a_table(run: Path, out: Path) -> None:
    stem = next((out / "tables").glob("*_metrics_proposed.csv"))
    assert read_csv(stem).equals(read_csv(run / "tables" / "metrics_proposed.csv")), "every digit"
    latex = stem.with_suffix(".tex").read_text(encoding="utf-8")
    assert r"\toprule" in latex and r"\label{tab:metrics_proposed}" in latex and "DeLong (AUROC)" in latex
    assert latex.isascii() and latex.count("{") == latex.count("}")
    odd = next((out / "tables").glob("*_unheard_of.tex")).read_text(encoding="utf-8")
    assert HOSTILE not in odd and r"$<$script$>$" in odd and r"\$\textbackslash{}frac\$" in odd


def test_checklists_and_cards_are_there(out: Path) -> None:
    document = Document(str(out / "checklists.docx"))
    assert [len(table.rows) - 1 for table in document.tables] == [44, 48, 52]
    for name in ("README", "methods", "model_card", "data_card"):
        text = (out / f"{name}.md").read_text(encoding="utf-8")
        assert len(text) > 500 and "<script>" not in text
