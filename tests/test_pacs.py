"""DICOM results: conformance to the IODs, the patient and the source they carry, the picture, and hard sources."""

from __future__ import annotations

import copy
import json
import pkgutil
import shutil
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
from conftest import make_scan
from dicom_rules import REQUIRED, SC_CLASS, SR_CLASS, faults
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bonescan_utils.dicom import read_dicom, write_dicom
from bonescan_utils.finding import Finding
from bonescan_utils.pacs import RESEARCH_NOTICE, require_pacs
from bonescan_utils.pacs import objects as objects_module
from bonescan_utils.pacs.identity import make_uid
from bonescan_utils.pacs.objects import write_objects
from bonescan_utils.pacs.sheet import BAND, LINE, draw_sheet
from bonescan_utils.pacs.source import SourceError, read_source
from bonescan_utils.profiles import StudyError
from bonescan_utils.run_model import Recalibration, RunModel
from bonescan_utils.scan import Scan, View

CREATED = "2026-01-02T03:04:05+00:00"
POINT = {"estimate": 0.8, "ci_low": 0.7, "ci_high": 0.9, "method": "Wilson", "n": 40}
MODEL = RunModel(
    Path("m.keras"), "proposed", "quick", "side_by_side", 0.5, Recalibration(1.5, -0.2),
    {"sensitivity": POINT, "specificity": POINT}, {"name": "data_manifest.csv", "sha256": "cd" * 32}, {},
)  # fmt: skip


def make_finding(scan: Scan, **other: Any) -> Finding:
    """Returns a finding of a scan, above the threshold."""
    views = tuple(view.name for view in scan.views)
    missing = tuple(name for name in ("anterior", "posterior") if name not in views)
    return replace(Finding(MODEL, "ab" * 32, 0.83, views, missing, 1.5, scan.warnings), **other)


def make_item(scan: Scan) -> Any:
    """Returns what stands for a scored scan: a saliency map of one bright pixel in each view."""
    maps = {view.name: np.zeros(view.counts.shape, np.float32) for view in scan.views}
    for found in maps.values():
        found[10, 20] = 1.0
    return SimpleNamespace(scan=scan, by_view=lambda: maps)


def write(path: Path, scan: Scan, out: Path, *, key: str = "k", **other: Any) -> dict[str, pydicom.Dataset]:
    """Writes the objects of a scan, and reads them back by name."""
    finding = make_finding(scan, **other)
    files = write_objects(make_item(scan), finding, source=path, out=out, key=key, created=CREATED)
    return {file.stem.removeprefix(f"{scan.scan_id}_"): pydicom.dcmread(file) for file in files}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-view scan."""
    path = tmp_path_factory.mktemp("in") / "scan.dcm"
    write_dicom(path, make_scan("scan-1", hot=True), patient_id="P1", sex="F", age=60, study_seed="s")
    return path


@pytest.fixture(scope="module")
def objects(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pydicom.Dataset]:
    """Its objects."""
    return write(source, make_scan("scan-1", hot=True), tmp_path_factory.mktemp("out"))


@pytest.fixture
def changed(source: Path, tmp_path: Path) -> Any:
    """Writes the scan with other header values, and returns its path."""

    def make(**values: Any) -> Path:
        ds = pydicom.dcmread(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, value in values.items():
                setattr(ds, name, value)
            ds.save_as(tmp_path / "changed.dcm")
        return tmp_path / "changed.dcm"

    return make


# ------------------------------------------------------------------------------------------- conformance
def test_the_lists_of_the_check_are_those_of_the_standard() -> None:
    def table(name: str) -> Any:
        return json.loads(pkgutil.get_data("highdicom", f"_standard/{name}.json") or b"")

    modules, attributes = table("iod_module_map"), table("module_attribute_map")
    # The table mixes a content item's macros of all value types; of a root, a container, these three are required.
    root = {"ValueType", "ConceptNameCodeSequence", "ContinuityOfContent"}
    for sop_class, required in REQUIRED.items():
        rows = [
            row
            for module in modules[table("sop_class_iod_map")[sop_class]]
            if module["usage"] == "M" and module["key"] != "sr-document-content"
            for row in attributes[module["key"]]
            if not row["path"]
        ]
        for kind in ("1", "2"):
            # An attribute of two modules has the stronger of its two types.
            stronger = {row["keyword"] for row in rows if row["type"] == "1"} if kind == "2" else set()
            assert {row["keyword"] for row in rows if row["type"] == kind} - stronger == required[kind] - root


def test_all_objects_conform_to_their_iod(objects: dict[str, pydicom.Dataset]) -> None:
    assert sorted(objects) == ["sc_anterior", "sc_posterior", "sr"]
    assert {name: faults(ds) for name, ds in objects.items()} == {"sc_anterior": [], "sc_posterior": [], "sr": []}


@pytest.mark.parametrize("sop_class", [SC_CLASS, SR_CLASS])
def test_the_check_misses_no_required_attribute(objects: dict[str, pydicom.Dataset], sop_class: str) -> None:
    whole = next(ds for ds in objects.values() if ds.SOPClassUID == sop_class)
    names = (REQUIRED[sop_class]["1"] | REQUIRED[sop_class]["2"]) - {"SOPClassUID", "SamplesPerPixel", "BitsStored"}
    for name in names - {
        "Rows",
        "Columns",
        "BitsAllocated",
        "PhotometricInterpretation",
        "ValueType",
        "SOPInstanceUID",
    }:
        broken = copy.deepcopy(whole)
        delattr(broken, name)
        assert any(name in fault for fault in faults(broken)), name


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda ds: setattr(ds.ContentSequence[0], "RelationshipType", "CONTAINED"), "CONTAINED"),
        (lambda ds: ds.CurrentRequestedProcedureEvidenceSequence.clear(), "evidence"),
        (lambda ds: ds.CodingSchemeIdentificationSequence.clear(), "99BONESCAN"),
        (lambda ds: delattr(ds.ContentSequence[1], "ConceptCodeSequence"), "without its value"),
        (lambda ds: setattr(ds.ConceptNameCodeSequence[0], "CodeMeaning", ""), "incomplete code"),
        (lambda ds: setattr(ds, "PatientName", "Müller^A"), "Character Set"),
    ],
)  # fmt: skip
def test_the_check_sees_a_broken_report(objects: dict[str, pydicom.Dataset], spoil: Any, words: str) -> None:
    broken = copy.deepcopy(objects["sr"])
    spoil(broken)
    assert any(words in fault for fault in faults(broken))


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dicom3tools is not installed")
def test_dciodvfy_finds_no_error(source: Path, tmp_path: Path) -> None:
    write(source, make_scan("scan-1", hot=True), tmp_path)
    for path in tmp_path.glob("*.dcm"):
        said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        assert "Error" not in said.stdout + said.stderr, said.stderr


# ------------------------------------------------------------------------------ what they carry and say
def test_they_are_filed_under_the_patient_and_study_of_the_source(
    source: Path, objects: dict[str, pydicom.Dataset]
) -> None:
    scan = pydicom.dcmread(source)
    for ds in objects.values():
        for name in (
            "PatientName",
            "PatientID",
            "PatientSex",
            "PatientAge",
            "StudyInstanceUID",
            "StudyDate",
            "StudyID",
        ):
            assert ds[name].value == scan[name].value
        assert ds.SeriesInstanceUID != scan.SeriesInstanceUID
        assert ds.SeriesDescription.startswith(RESEARCH_NOTICE)
    series = [ds.SeriesInstanceUID for ds in objects.values()]
    assert series[0] == series[1] != series[2], "one series of pictures, one of reports"


def test_pictures_reference_the_frame_of_their_view(source: Path, objects: dict[str, pydicom.Dataset]) -> None:
    scan = pydicom.dcmread(source)
    for view, frame, row_to in (("anterior", 1, "L"), ("posterior", 2, "R")):
        ds = objects[f"sc_{view}"]
        (item,) = ds.SourceImageSequence
        assert item.ReferencedSOPInstanceUID == scan.SOPInstanceUID and item.ReferencedFrameNumber == frame
        assert list(ds.PatientOrientation) == [row_to, "F"], "to which side of the patient the rows lead"
        assert [float(v) for v in ds.PixelSpacing] == pytest.approx([2.26 / 8] * 2), "each counts pixel is 8 x 8"


def test_the_report_says_score_probability_threshold_and_model(
    source: Path, objects: dict[str, pydicom.Dataset]
) -> None:
    from highdicom.sr import srread

    (group,) = srread(Path(str(objects["sr"].filename))).content.get_image_measurement_groups()
    numbers = {item.name.value: item.value for item in group.get_measurements()}
    logit = 1.5 * np.log(0.83 / 0.17) - 0.2
    assert numbers == pytest.approx(
        {"SCORE": 0.83, "PROBABILITY": 1 / (1 + np.exp(-logit)), "THRESHOLD": 0.5}, abs=1e-6
    )
    (evaluation,) = group.get_qualitative_evaluations()
    assert evaluation.value.value == "ABOVE"
    (image,) = group.source_images
    assert image.referenced_sop_instance_uid == pydicom.dcmread(source).SOPInstanceUID
    assert (objects["sr"].VerificationFlag, objects["sr"].PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    said = json.dumps(objects["sr"].to_json_dict())
    assert all(word in said for word in (RESEARCH_NOTICE, "ab" * 32, "0.80 (0.70-0.90)"))
    assert "94222008" not in said, "no finding is coded: the score may lie below the threshold"


def test_a_scan_below_the_threshold_and_without_recalibration_says_so(source: Path, tmp_path: Path) -> None:
    model = replace(
        MODEL, recalibration=None, operating_point={}, missing={"recalibration": "x", "operating_point": "y"}
    )
    report = write(source, make_scan("scan-1"), tmp_path, model=model, y_score=0.2)["sr"]
    said = json.dumps(report.to_json_dict())
    assert "BELOW" in said and "PROBABILITY" not in said and "No calibrated probability" in said
    assert faults(report) == []


def test_equal_inputs_give_equal_bytes_and_another_model_other_uids(source: Path, tmp_path: Path) -> None:
    scan = make_scan("scan-1", hot=True)
    first, second = write(source, scan, tmp_path / "a"), write(source, scan, tmp_path / "b")
    assert all((tmp_path / "a" / path.name).read_bytes() == path.read_bytes() for path in (tmp_path / "b").iterdir())
    other = write(source, scan, tmp_path / "c", key="another model")
    uids = [{ds.SOPInstanceUID for ds in found.values()} for found in (first, second, other)]
    assert uids[0] == uids[1] and not uids[0] & uids[2] and len(uids[0]) == 3


def test_uids_do_not_depend_on_where_texts_are_cut() -> None:
    assert make_uid("ab", "c") != make_uid("a", "bc") and make_uid("ab", "c") == make_uid("ab", "c")
    assert make_uid("ab", "c").is_valid


# ------------------------------------------------------------------------------------------- the picture
def test_an_overlay_pixel_lies_on_its_counts_pixel_and_nothing_else_is_coloured() -> None:
    view, saliency = make_scan().views[0], np.zeros((128, 32), np.float32)
    saliency[10, 20] = 1.0
    sheet = draw_sheet(view, saliency, ["a line"], darkest=400.0)
    colour = sheet.pixels.astype(int).max(axis=2) - sheet.pixels.astype(int).min(axis=2)
    top, height = BAND + LINE + 2, 128 * sheet.factor
    rows, columns = np.nonzero(colour[top : top + height] > 20)
    right_panel = (sheet.pixels.shape[1] - 2 * 32 * 8 - 12) // 2 + 32 * 8 + 12
    assert sheet.factor == 8
    assert (rows.min(), rows.max() + 1) == (80, 88) and (columns.min(), columns.max() + 1) == (
        right_panel + 160,
        right_panel + 168,
    )


def test_the_scan_is_drawn_beside_it_reversed_and_unscaled() -> None:
    view, factor = make_scan().views[0], 8
    sheet = draw_sheet(view, np.zeros((128, 32), np.float32), [], darkest=200.0)
    left, top = (sheet.pixels.shape[1] - 2 * 32 * factor - 12) // 2, BAND + LINE + 2
    centres = sheet.pixels[top + 4 : top + 1024 : factor, left + 4 : left + 256 : factor, 0]
    expected = (255 * (1 - np.clip(view.counts / 200.0, 0, 1))).astype(np.uint8)
    clear = np.s_[8:, :]  # the letters of the sides stand in the first rows
    assert np.array_equal(centres[clear], expected[clear])


@pytest.mark.parametrize("shape", [(1024, 256), (64, 24), (2048, 512), (300, 200)])
def test_any_size_of_scan_makes_a_sheet_with_its_notice(shape: tuple[int, int]) -> None:
    view = View("posterior", np.full(shape, 3, np.uint16), None, "file")
    lines = ["x" * 300, "short"]
    sheet = draw_sheet(view, np.zeros(shape, np.float32), lines, darkest=9.0)
    band = sheet.pixels[:BAND].reshape(-1, 3)
    assert (band == (150, 0, 0)).all(axis=1).mean() > 0.5 and (band == 255).all(axis=1).sum() > 200, "white on red"
    assert sheet.pixels.shape[1] >= 2 * shape[1] * sheet.factor


def test_a_map_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"saliency map \(5, 5\) and anterior view \(128, 32\) differ"):
        draw_sheet(make_scan().views[0], np.zeros((5, 5)), [], darkest=1.0)


# -------------------------------------------------------------------------------------------- the source
def test_nm1_the_real_scan_with_its_missing_view(tmp_path: Path) -> None:
    pytest.importorskip("data_store")
    from pydicom.data import get_testdata_file

    path = Path(str(get_testdata_file("JPEG-LL.dcm", download=False)))
    reading = read_dicom(path)
    scan = Scan("scan-nm1", reading.views["anterior"], None, reading.warnings)
    objects = write(path, scan, tmp_path)
    assert {name: faults(ds) for name, ds in objects.items()} == {"sc_anterior": [], "sr": []}
    said = json.dumps(objects["sr"].to_json_dict())
    assert "The posterior view is missing" in said and "assumed to be anterior" in said
    assert all(ds.PatientID == "8NM1" for ds in objects.values())
    assert "BERRA" not in str(objects), "the name in a private attribute of the source stays behind"
    assert "ReferencedFrameNumber" not in objects["sc_anterior"].SourceImageSequence[0], "the source has one frame"


NAME = "Yamada^Tarou=山田^太郎=やまだ^たろう"


def test_a_name_in_another_character_set_is_kept_and_never_told(
    changed: Any, tmp_path: Path, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = changed(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName=NAME, PatientID="X-77 1")
    objects = write(path, make_scan("scan-1"), tmp_path / "out")
    assert all(str(ds.PatientName) == NAME and faults(ds) == [] for ds in objects.values())
    one_part = changed(SpecificCharacterSet="ISO_IR 192", PatientName="Mononym")
    assert str(write(one_part, make_scan("scan-1"), tmp_path / "out")["sr"].PatientName) == "Mononym"
    told = "".join(map(str, [*(w.message for w in recwarn), caplog.text, *capfd.readouterr()]))
    assert "Mononym" not in told and "Yamada" not in told and "X-77" not in told
    assert all("Mononym" not in name.name and "X-77" not in name.name for name in (tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("values", "name", "kept"),
    [
        ({"PatientBirthDate": "1950.01.02"}, "PatientBirthDate", ""),
        ({"PatientBirthDate": "19500102"}, "PatientBirthDate", "19500102"),
        ({"StudyTime": "99"}, "StudyTime", ""),
        ({"PatientSex": "U"}, "PatientSex", ""),
        ({"AccessionNumber": "A-12"}, "AccessionNumber", "A-12"),
        ({"IssuerOfPatientID": "HOSP"}, "IssuerOfPatientID", "HOSP"),
        ({"ReferringPhysicianName": None}, "ReferringPhysicianName", ""),
    ],
)
def test_values_are_carried_if_they_are_of_their_form(
    changed: Any, tmp_path: Path, values: dict[str, Any], name: str, kept: str
) -> None:
    for ds in write(changed(**values), make_scan("scan-1"), tmp_path / "out").values():
        assert str(ds[name].value or "") == kept and faults(ds) == []


def test_an_unforeseen_fault_of_a_source_is_told_without_its_values(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*args: Any, **options: Any) -> Any:
        raise KeyError("Doe^Jane")

    monkeypatch.setattr(objects_module, "structured_report", failing)
    with pytest.raises(SourceError, match=r"no DICOM result can be made of the source's header \(KeyError\)$"):
        write(source, make_scan("scan-1"), tmp_path / "out")
    assert not (tmp_path / "out").exists(), "the pictures come with their report or not at all"


TEXT = st.text(st.characters(codec="utf-8"), max_size=70)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(name="\\", patient="A\\B", accession="\\\\", study="\x1b$B")
@example(name="\x00", patient="\x0c7", accession=" ", study="a=b=c=d=e")
@given(name=TEXT, patient=TEXT, accession=TEXT, study=TEXT)
def test_no_text_of_a_source_breaks_the_results_of_a_scan(
    changed: Any, tmp_path: Path, name: str, patient: str, accession: str, study: str
) -> None:
    values = {"PatientName": name, "PatientID": patient, "AccessionNumber": accession, "StudyDescription": study}
    path = changed(SpecificCharacterSet="ISO_IR 192", **values)
    carried = read_source(path).dataset
    for ds in write(path, make_scan("scan-1"), tmp_path / "out").values():
        for keyword in ("PatientName", "PatientID", "AccessionNumber"):
            assert str(ds[keyword].value or "").strip() == str(carried[keyword].value or "").strip()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"StudyInstanceUID": ""}, "no valid StudyInstanceUID"),
        ({"SeriesInstanceUID": "1.02.3"}, "no valid SeriesInstanceUID"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "SOP class CT Image Storage"),
    ],
)
def test_a_source_that_cannot_be_referenced_is_refused_and_nothing_written(
    changed: Any, tmp_path: Path, values: dict[str, Any], words: str
) -> None:
    with pytest.raises(SourceError, match=words):
        write(changed(**values), make_scan("scan-1"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_frames_are_named_by_view_code_not_by_order(source: Path, changed: Any) -> None:
    sequence = list(pydicom.dcmread(source).DetectorInformationSequence)
    swapped = read_source(changed(DetectorInformationSequence=sequence[::-1]))
    assert dict(read_source(source).frames) == {"anterior": 1, "posterior": 2}
    assert dict(swapped.frames) == {"anterior": 2, "posterior": 1}


def test_a_missing_package_names_the_extra() -> None:
    with pytest.raises(StudyError, match=r"--dicom needs no_such, of the extra 'pacs': .*pip install -e '\.\[pacs\]'"):
        require_pacs("no_such", option="--dicom")
