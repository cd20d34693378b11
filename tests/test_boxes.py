"""Boxes of readers: both forms, what they mean, and every fault in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SmallCohort, make_scan

from bonescan_utils.boxes import MAX_XML, MOST, Boxes, read_boxes
from bonescan_utils.explanation import Explained, findings_of, localise, truths_of
from bonescan_utils.files import write_csv
from bonescan_utils.preprocessing import prepare
from bonescan_utils.problems import ManifestError
from bonescan_utils.study import Run

HEADER = "scan_id,view,x0,y0,x1,y1,label,reader\n"
OBJECT = (
    "<object><name>{0}</name><bndbox><xmin>{1}</xmin><ymin>{2}</ymin><xmax>{3}</xmax><ymax>{4}</ymax></bndbox></object>"
)
SCAN = make_scan("a")


def of_csv(folder: Path, *rows: str, header: str = HEADER) -> Boxes:
    path = folder / "boxes.csv"
    path.write_text(header + "\n".join(rows) + "\n", encoding="utf-8")
    return read_boxes(path, ["a", "b", "c"])


def of_xml(folder: Path, text: str | bytes, view: str = "anterior", scan: str = "a") -> Boxes:
    (folder / view).mkdir(exist_ok=True)
    (folder / view / f"{scan}.xml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_boxes(folder, ["a", "b", "c"])


def problems(error: pytest.ExceptionInfo[ManifestError]) -> list[str]:
    lines = str(error.value).splitlines()
    assert len(lines) == len(error.value.problems)
    return lines


def test_a_box_holds_the_pixels_between_its_corners(tmp_path: Path) -> None:
    mask = of_csv(tmp_path, "a,anterior,10,40,14,45,met,R1").masks(SCAN)
    assert {(r, c) for r, c in np.argwhere(mask["anterior"])} == {(r, c) for r in range(40, 45) for c in range(10, 14)}
    assert not mask["posterior"].any()


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    table = of_csv(tmp_path, "a,anterior,10,40,14,45", "a,posterior,3,4,5,6", header="scan_id,view,x0,y0,x1,y1\n")
    of_xml(tmp_path, f"<annotation>{OBJECT.format('x', 10, 40, 14, 45)}</annotation>")
    folder = of_xml(tmp_path, f"<annotation>{OBJECT.format('x', 3, 4, 5, 6)}</annotation>", "posterior")
    for view, mask in table.masks(SCAN).items():
        np.testing.assert_array_equal(mask, folder.masks(SCAN)[view])


def test_named_without_a_box_is_read_and_not_named_is_unknown(tmp_path: Path) -> None:
    boxes = of_csv(tmp_path, "a,anterior,,,,,,R1", "b,anterior,1,2,3,4,Normal,")
    assert boxes.scans() == {"a", "b"}
    assert not any(mask.any() for scan in (SCAN, make_scan("b")) for mask in boxes.masks(scan).values())
    assert of_xml(tmp_path, "<annotation/>").scans() == {"a"}


def test_boxes_that_meet_are_one_lesion_and_views_are_counted_apart(tmp_path: Path) -> None:
    boxes = of_csv(tmp_path, "a,anterior,10,40,14,45,,R1", "a,anterior,13,44,16,50,,R2", "a,anterior,20,60,22,62,,R1",
                   "a,posterior,10,40,14,45,,R1")  # fmt: skip
    labels = boxes.labels(SCAN)
    assert set(np.unique(labels["anterior"])) == {0, 1, 2} and set(np.unique(labels["posterior"])) == {0, 3}
    assert labels["anterior"][42, 11] == labels["anterior"][48, 15] != labels["anterior"][61, 21]
    found = boxes.findings(SCAN)
    assert found["lesion"].tolist() == [1, 2, 3] and found["prominence"].tolist() == [37, 4, 20]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a,anterior,14,40,10,45,,", "line 2, scan a: found '14,40,10,45'; expected x0 below x1"),
        ("a,anterior,10,40,10,45,,", "expected x0 below x1"),
        ("a,anterior,10,nan,12,45,,", "expected four numbers"),
        ("a,anterior,10,,12,45,,", "expected four numbers"),
        ("a,anterior,1e999,1,2,3,,", "expected four numbers"),
        ("a,lateral,1,2,3,4,,", "'lateral'; expected anterior or posterior"),
        ("zzz,anterior,1,2,3,4,,", "'zzz'; expected a scan of the manifest"),
        ("a,anterior,1,2,3", "as many fields as the header"),
    ],
)
def test_a_faulty_row_is_told_in_one_line(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(ManifestError) as error:
        of_csv(tmp_path, row, "b,anterior,1,2,3,4,,")
    (line,) = problems(error)
    assert words in line


@pytest.mark.parametrize("corners", ["-1,2,3,4", "1,-2,3,4", "1,2,33,4", "1,2,3,129"])
def test_a_box_outside_its_image_is_told(tmp_path: Path, corners: str) -> None:
    with pytest.raises(ManifestError) as error:
        of_csv(tmp_path, f"a,anterior,{corners},,").check([SCAN])
    (line,) = problems(error)
    assert "within the image of 32 x 128 pixels" in line
    of_csv(tmp_path, "a,anterior,0,0,32,128,,").check([SCAN])


def test_a_view_that_the_scan_lacks_is_told(tmp_path: Path) -> None:
    alone = type(SCAN)("a", SCAN.anterior, None)
    with pytest.raises(ManifestError, match="'posterior'; expected a view that the scan has"):
        of_csv(tmp_path, "a,posterior,1,2,3,4,,").masks(alone)


def test_a_table_without_its_columns_or_a_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="column x1: found ''; expected this column"):
        of_csv(tmp_path, "a,anterior,1,2", header="scan_id,view,x0,y0\n")
    with pytest.raises(ManifestError, match="no such file"):
        read_boxes(tmp_path / "none.csv", ["a"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match=r"anterior/<scan_id>\.xml or posterior"):
        read_boxes(tmp_path / "empty", ["a"])


def test_more_lesions_than_can_be_numbered_are_refused(tmp_path: Path) -> None:
    rows = [
        f"a,anterior,{2 * (n % 16)},{2 * (n // 16)},{2 * (n % 16) + 1},{2 * (n // 16) + 1},," for n in range(MOST + 1)
    ]
    assert of_csv(tmp_path, *rows[:-1]).labels(SCAN)["anterior"].max() == MOST
    with pytest.raises(ManifestError, match="255 lesions"):
        of_csv(tmp_path, *rows).labels(SCAN)


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><annotation><object><name>&c;</name></object></annotation>'


@pytest.mark.parametrize(
    "text",
    [
        BOMB, BOMB.encode("utf-16"), BOMB.encode("utf-16-le"),
        '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>',
        "<annotation>", b"\xff\xfe\x00", "", "<annotation>" + " " * MAX_XML + "</annotation>",
        "<?xml version='1.0' encoding='no-such'?><annotation/>",
        "<annotation><object><name>x</name></object></annotation>",
        f"<annotation>{OBJECT.format('x', 5, 5, 5, 9)}</annotation>",
        f"<annotation>{OBJECT.format('x', 'one', 5, 5, 9)}</annotation>",
    ],
)  # fmt: skip
def test_an_xml_that_is_more_or_less_than_boxes_is_refused_in_one_line(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(ManifestError) as error:
        of_xml(tmp_path, text)
    (line,) = problems(error)
    assert "a.xml" in line and "root:" not in line


def test_maps_of_a_cohort_are_scored_against_boxes(small_cohort: SmallCohort, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", "05_grad_cam")
    write_csv(run.path("cohort.csv"), small_cohort.df)
    run.note_data(small_cohort.manifest, synthetic=False)
    ids = list(small_cohort.df["scan_id"])[:3]
    path = tmp_path / "b.csv"
    path.write_text(HEADER + f"{ids[0]},anterior,10,50,20,70,,\n{ids[1]},posterior,,,,,,\n", encoding="utf-8")
    assert run.use_boxes("") == 0 and run.boxes is None
    assert run.use_boxes(str(path)) == 2
    truth = run.truth(ids)
    assert truth[ids[0]] is not None and truth[ids[0]]["anterior"].sum() == 200 and truth[ids[2]] is None
    items = []
    for scan in run.scans(ids):
        image = prepare(scan, size=(128, 64))
        inside = image.placements["anterior"].to_model_space(np.pad(np.ones((20, 10)), ((50, 58), (10, 12))), (128, 64))
        items.append(Explained(scan, image, 0.9, inside.astype(np.float32), 1.0))
    truths = truths_of(items, run)
    assert set(truths) == set(ids[:2])
    scores, marks = localise({"drawn": items}, truths)
    row = scores.set_index("map").loc["drawn"]
    assert row["scan_id"] == ids[0] and row["energy"] > 0.95 and row["pointing"] == 1
    assert set(marks["scan_id"]) == set(ids[:2]), "a scan that was read and has no lesion counts for false foci"
    found = findings_of(run, ids)
    assert found[["scan_id", "lesion"]].to_dict("list") == {"scan_id": [ids[0]], "lesion": [1]}
    assert isinstance(found, pd.DataFrame) and found["region"].notna().all()
