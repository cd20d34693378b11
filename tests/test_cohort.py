"""The cohort: every row ends as used or quarantined, and the numbers add up."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from conftest import SmallCohort, make_cohort, make_counts, make_scan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bonescan_utils.cohort import Ingest, check, describe, ingest, load_file, load_scan
from bonescan_utils.dicom import write_dicom
from bonescan_utils.files import read_csv, write_csv
from bonescan_utils.manifest import read_manifest, write_manifest
from bonescan_utils.scan import Scan, ScanError


def run(df: pd.DataFrame, root: Path) -> Ingest:
    return ingest(df, root, n_jobs=1, progress=False)


def code_of(row: dict[str, str], root: Path) -> str:
    with pytest.raises(ScanError) as caught:
        load_scan(row, root)
    return caught.value.code


def write_single(path: Path, scan: Scan, name: str, *, code: bool = True) -> None:
    """Writes one view of a scan as a file of its own, without a view code if wanted."""
    views = {"anterior": None, "posterior": None} | {name: getattr(scan, name)}
    write_dicom(path, Scan(scan.scan_id, **views), patient_id="P", sex="M", age=60, study_seed=name)
    if not code:
        ds = pydicom.dcmread(path)
        del ds.DetectorInformationSequence
        ds.save_as(path)


# ------------------------------------------------------------------------------------------- load_scan
def test_a_two_frame_file_in_both_columns_or_in_one(small_cohort: SmallCohort) -> None:
    row = small_cohort.df.iloc[0].to_dict()
    scan = load_scan(row, small_cohort.root)
    expected = small_cohort.scans["s0000"]
    assert (scan.scan_id, scan.warnings) == ("s0000", ())
    for view, wanted in zip(scan.views, expected.views, strict=True):
        np.testing.assert_array_equal(view.counts, wanted.counts)
        assert view.view_source == "view_code"
    lone = load_scan(row | {"anterior": ""}, small_cohort.root)
    assert [view.name for view in lone.views] == ["posterior"]
    assert "only the posterior one is named" in lone.warnings[0]


def test_two_files_of_one_view_each(tmp_path: Path, small_scan: Scan) -> None:
    for name in ("anterior", "posterior"):
        write_single(tmp_path / f"{name}.dcm", small_scan, name)
        write_single(tmp_path / f"{name}_plain.dcm", small_scan, name, code=False)
    row = {"scan_id": "s", "anterior": "anterior.dcm", "posterior": "posterior.dcm"}
    coded = load_scan(row, tmp_path)
    assert [view.view_source for view in coded.views] == ["view_code", "view_code"]
    plain = load_scan({"scan_id": "s", "anterior": "anterior_plain.dcm", "posterior": "posterior_plain.dcm"}, tmp_path)
    assert [view.view_source for view in plain.views] == ["manifest", "manifest"]
    assert plain.warnings == ()
    for scan in (coded, plain):
        for view, wanted in zip(scan.views, small_scan.views, strict=True):
            np.testing.assert_array_equal(view.counts, wanted.counts)


def test_a_file_that_contradicts_the_manifest_is_refused(tmp_path: Path, small_scan: Scan) -> None:
    write_single(tmp_path / "a.dcm", small_scan, "anterior")
    assert code_of({"scan_id": "s", "anterior": "", "posterior": "a.dcm"}, tmp_path) == "view_conflict"
    assert code_of({"scan_id": "s", "anterior": "a.dcm", "posterior": "a.dcm"}, tmp_path) == "one_view"


def test_images_beside_dicom_and_the_suffix_does_not_matter(tmp_path: Path) -> None:
    Image.fromarray(make_counts(1)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.dcm")
    np.save(tmp_path / "p.npy", make_counts(2))
    scan = load_scan({"scan_id": "s", "anterior": "a.dcm", "posterior": "p.npy"}, tmp_path)
    np.testing.assert_array_equal(scan.views[0].counts, make_counts(1))
    assert [view.view_source for view in scan.views] == ["manifest", "manifest"]


def test_a_file_outside_the_root_is_not_opened(tmp_path: Path, small_cohort: SmallCohort) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "x.dcm").symlink_to(small_cohort.root / "scans/s0000.dcm")
    for given_path in ("../scans/s0000.dcm", "x.dcm", str(small_cohort.root / "scans/s0000.dcm"), "a\x00"):
        assert code_of({"scan_id": "s", "anterior": given_path, "posterior": ""}, root) == "outside"
    assert code_of({"scan_id": "s", "anterior": "", "posterior": ""}, root) == "no_view"


def test_a_lone_file_says_what_was_assumed(tmp_path: Path, small_cohort: SmallCohort) -> None:
    both = load_file(small_cohort.root / "scans/s0003.dcm")
    assert (both.scan_id, len(both.views)) == ("s0003", 2)
    for name, view, source in (("x.png", "anterior", "frame_order"), ("x_post.png", "posterior", "text")):
        Image.fromarray(make_counts(1)).save(tmp_path / name)
        scan = load_file(tmp_path / name, scan_id="p")
        assert [(v.name, v.view_source) for v in scan.views] == [(view, source)]
        assert bool(scan.warnings) == (source == "frame_order") and scan.scan_id == "p"
    with pytest.raises(ScanError):
        load_file(tmp_path / "absent.dcm")


# ------------------------------------------------------------------------------------------- ingest
def test_a_good_cohort_is_used_whole(small_cohort: SmallCohort) -> None:
    df = read_manifest(small_cohort.manifest)
    result = run(df, small_cohort.root)
    assert result.quarantined.empty
    assert list(result.quarantined.columns) == ["file", "line", "scan_id", "code", "reason", "next_step"]
    assert result.used["scan_id"].tolist() == df["scan_id"].tolist()
    for _, row in result.used.iterrows():
        for view in small_cohort.scans[row["scan_id"]].views:
            assert row[f"counts_{view.name}"] == view.total
    assert set(result.used["view_source"]) == {"view_code"} and set(result.used["pixel_mm"]) == {2.26}
    assert result.flow["n"].tolist() == [8, 8, 8, 8]


def test_faults_are_quarantined_with_line_and_reason(small_cohort: SmallCohort) -> None:
    root, scans = small_cohort.root, small_cohort.root / "scans"
    (scans / "s0000.dcm").write_bytes(b"")
    (scans / "s0001.dcm").write_bytes((scans / "s0001.dcm").read_bytes()[:-900])
    (scans / "s0002.dcm").unlink()
    (scans / "s0003.dcm").write_text("<html>")
    empty = Scan("s0004", *make_scan().views[:1], None)
    empty.views[0].counts[:] = 0
    write_dicom(scans / "s0004.dcm", empty, patient_id="P", sex="M", age=50, study_seed="x")
    ds = pydicom.dcmread(scans / "s0005.dcm")
    ds.Modality = "PT"
    ds.save_as(scans / "s0005.dcm")
    df = read_manifest(small_cohort.manifest).assign(sha256_anterior="", sha256_posterior="")
    df.loc[4, "posterior"] = ""
    result = run(df, root)
    found = result.quarantined.set_index("scan_id")
    assert found["code"].to_dict() == {
        "s0000": "empty", "s0001": "truncated", "s0002": "absent",
        "s0003": "not_dicom", "s0004": "all_zero", "s0005": "modality",
    }  # fmt: skip
    assert found["line"].tolist() == [2, 3, 4, 5, 6, 7]
    assert found.loc["s0002", "file"] == "scans/s0002.dcm"
    assert (found["reason"].str.len() > 5).all() and (found["next_step"].str.len() > 5).all()
    assert result.used["scan_id"].tolist() == ["s0006", "s0007"]
    flow = result.flow
    assert flow["n"].tolist() == [8, 4, 3, 2]
    assert (flow["n"].shift(fill_value=8) - flow["excluded"] == flow["n"]).all()
    assert "1 truncated" in flow["reason"][1]


def test_a_changed_file_is_quarantined_but_a_phantom_is_used_with_the_difference(
    small_cohort: SmallCohort,
) -> None:
    df = read_manifest(small_cohort.manifest).assign(phantom_seed="", counts_anterior="", counts_posterior="")
    for at in (0, 1):
        scan_id = f"s{at:04d}"
        scan = small_cohort.scans[scan_id]
        df.loc[at, "counts_anterior"] = str(scan.views[0].total)
        df.loc[at, "counts_posterior"] = str(scan.views[1].total)
        scan.views[0].counts[64, 16] += 7
        path = small_cohort.root / df.loc[at, "anterior"]
        write_dicom(path, scan, patient_id="P", sex="M", age=50, study_seed="x")
    df.loc[1, "phantom_seed"] = "3"
    result = run(df, small_cohort.root)
    assert result.quarantined["code"].tolist() == ["checksum"]
    assert "the manifest says" in result.quarantined["reason"][0]
    used = result.used.set_index("scan_id")
    assert "totals differ by 7 counts" in used.loc["s0001", "warnings"]
    assert used.loc["s0001", "counts_anterior"] == small_cohort.scans["s0001"].views[0].total


def test_copies_are_used_once_and_shared_pixels_of_two_patients_never(small_cohort: SmallCohort) -> None:
    scans = small_cohort.root / "scans"
    shutil.copy(scans / "s0000.dcm", scans / "s0002.dcm")
    shutil.copy(scans / "s0001.dcm", scans / "s0003.dcm")
    df = read_manifest(small_cohort.manifest).assign(sha256_anterior="", sha256_posterior="")
    df.loc[2, "patient_id"] = " p0000"
    result = run(df, small_cohort.root)
    codes = result.quarantined.set_index("scan_id")["code"].to_dict()
    assert codes == {"s0001": "shared_pixels", "s0002": "copy", "s0003": "shared_pixels"}
    assert "s0003" in result.quarantined.set_index("scan_id").loc["s0001", "reason"]


def test_scans_of_one_view_leave_the_other_count_missing(small_cohort: SmallCohort, tmp_path: Path) -> None:
    df = read_manifest(small_cohort.manifest)
    df.loc[0, ["posterior", "sha256_posterior"]] = ""
    used = run(df, small_cohort.root).used
    assert pd.isna(used.loc[0, "counts_posterior"]) and used["counts_posterior"].notna().sum() == 7
    write_csv(tmp_path / "cohort.csv", used)
    back = read_csv(tmp_path / "cohort.csv")
    assert back["scan_id"].tolist() == used["scan_id"].tolist()
    assert back["counts_posterior"].sum() == used["counts_posterior"].sum()


def test_workers_give_the_same_as_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bonescan_utils.cohort.SERIAL_BELOW", 1)
    cohort = make_cohort(tmp_path, n=20, rows=64, columns=16)
    (tmp_path / "scans/s0010.dcm").write_bytes(b"x")
    df = read_manifest(cohort.manifest).assign(sha256_anterior="", sha256_posterior="")
    one, two = run(df, tmp_path), ingest(df, tmp_path, n_jobs=2, progress=False)
    for name in ("used", "quarantined", "flow"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name))
    assert len(one.used) == 19


BREAK = {
    "good": lambda path: None,
    "absent": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-700]),
    "page": lambda path: path.write_text("<html>"),
    "copy": lambda path: shutil.copy(path.with_name("s0000.dcm"), path) if path.stem != "s0000" else None,
}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(sorted(BREAK)), min_size=8, max_size=8))
def test_nothing_is_lost(tmp_path_factory: pytest.TempPathFactory, small_cohort: SmallCohort, kinds: list[str]) -> None:
    root = tmp_path_factory.mktemp("c")
    shutil.copytree(small_cohort.root, root, dirs_exist_ok=True)
    df = read_manifest(root / "data_manifest.csv").assign(sha256_anterior="", sha256_posterior="")
    for scan_id, kind in zip(df["scan_id"][::-1], kinds, strict=True):  # s0000 last: it is what copies copy
        BREAK[kind](root / f"scans/{scan_id}.dcm")
    result = run(df, root)
    assert len(result.used) + len(result.quarantined) == len(df)
    assert {*result.used["scan_id"]} ^ {*result.quarantined["scan_id"]} == {*df["scan_id"]}
    assert result.flow["n"].iloc[-1] == len(result.used)
    assert result.flow["excluded"].sum() == len(result.quarantined)
    assert not set(result.used["scan_id"]) & {i for i, k in zip(df["scan_id"][::-1], kinds, strict=True)
                                               if k in ("absent", "empty", "cut", "page")}  # fmt: skip
    shutil.rmtree(root)


# ------------------------------------------------------------------------------------------- check
def test_check_finds_nothing_wrong_and_writes_nothing(small_cohort: SmallCohort) -> None:
    before = sorted(path.name for path in small_cohort.root.rglob("*"))
    assert check(small_cohort.manifest, progress=False) == []
    assert sorted(path.name for path in small_cohort.root.rglob("*")) == before


def test_check_gives_one_line_per_fault(small_cohort: SmallCohort) -> None:
    (small_cohort.root / "scans/s0001.dcm").unlink()
    (small_cohort.root / "scans/s0004.dcm").write_text("<html>")
    df = read_manifest(small_cohort.manifest)
    df.loc[4, ["sha256_anterior", "sha256_posterior"]] = ""
    write_manifest(small_cohort.manifest, df)
    texts = [str(problem) for problem in check(small_cohort.manifest, progress=False)]
    assert len(texts) == 2
    assert all(word in texts[0] for word in ("line 3", "s0001", "scans/s0001.dcm", "a file that exists"))
    assert all(word in texts[1] for word in ("line 6", "column anterior", "an HTML or XML page"))
    assert all("\n" not in text and len(text) <= 500 for text in texts)


def test_check_of_a_bad_manifest_opens_no_file(small_cohort: SmallCohort) -> None:
    text = small_cohort.manifest.read_text().replace(",F,", ",female,")
    small_cohort.manifest.write_text(text)
    shutil.rmtree(small_cohort.root / "scans")
    problems = check(small_cohort.manifest, progress=False)
    assert {problem.column for problem in problems} == {"sex"} and len(problems) == 4


def test_phantoms_may_be_absent(small_cohort: SmallCohort) -> None:
    df = read_manifest(small_cohort.manifest).assign(phantom_seed=["1"] * 7 + [""])
    write_manifest(small_cohort.manifest, df)
    shutil.rmtree(small_cohort.root / "scans")
    problems = check(small_cohort.manifest, progress=False)
    assert [problem.scan_id for problem in problems] == ["s0007"]
    line = describe(read_manifest(small_cohort.manifest), small_cohort.root)
    assert line == (
        "8 scans of 8 patients, 4 with metastasis, no partitions given; 7 phantom files will be made on demand"
    )
