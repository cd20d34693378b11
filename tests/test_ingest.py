"""Ingest: habits of makers, pseudonyms, quarantine, what is lost (nothing) and what leaks (nothing)."""

from __future__ import annotations

import csv
import os
import shutil
import stat
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from vendor_files import body, ge_millennium, ge_xeleris, header, philips, save, siemens_ecam

from bonescan_utils.cli import main
from bonescan_utils.cohort import ingest as read_cohort
from bonescan_utils.files import read_csv, read_text_csv
from bonescan_utils.ingest import KeyFileError, Outcome, ingest_folder
from bonescan_utils.ingest.keys import load_key
from bonescan_utils.ingest.mirror import outline, posterior_mirrored
from bonescan_utils.loading import load_scan
from bonescan_utils.manifest import read_manifest
from bonescan_utils.problems import ManifestError


def run(root: Path, out: Path, **options: object) -> Outcome:
    return ingest_folder(root, out / "m.csv", key_file=out.parent / "keys" / "k", n_jobs=1, progress=False, **options)


def rows_of(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "m.csv").open(encoding="utf-8")))


def codes_of(out: Path) -> list[str]:
    return sorted(read_text_csv(out / "m_quarantine.csv")["code"])


def adds_up(root: Path, outcome: Outcome) -> bool:
    """Every entry of the tree, counted beside the code under test, is in the tally."""
    entries = sum(len(files) for _, _, files in os.walk(root))
    flow = read_csv(outcome.manifest.with_name("m_flow.csv"))
    return entries == sum(outcome.ends.values()) == flow["n"].iloc[0] and flow["n"].iloc[-1] == outcome.ends["used"]


# ------------------------------------------------------------------------------------------- habits of makers
def test_each_maker_gives_both_views_right(tmp_path: Path) -> None:
    root, out = tmp_path / "pacs", tmp_path / "out"
    ge_xeleris(root / "a/IM0", 1, patient="A")
    for detector in (2, 1):
        ge_millennium(root / f"b/{detector}", 2, detector, patient="B")
    siemens_ecam(root / "c/deep/er/still/x.ima", 3, patient="C")
    for view in ("posterior", "anterior"):
        philips(root / f"d/{view[0]}.dcm", 4, view, patient="D")
    (root / "DICOMDIR").write_bytes(b"anything")
    outcome = run(root, out)
    assert (outcome.scans, outcome.patients, outcome.set_aside) == (4, 4, 0)
    assert outcome.ends == {"used": 6, "quarantined": 0, "ignored": 1} and outcome.ignored == {"dicomdir": 1}
    assert adds_up(root, outcome)
    df = read_manifest(out / "m.csv", labelled=False)
    assert df["metastasis"].isna().all() and set(df["scanner"].str.rsplit(" ", n=1).str[0]) >= {"GE Infinia"}
    seen = {}
    for row in df.to_dict("records"):
        scan = load_scan(row, out)
        assert scan.anterior and scan.posterior and scan.anterior.pixel_mm == (2.4, 2.4)
        seen[row["view_evidence"]] = scan
    for evidence, seed in (("detector", 2), ("text", 4)):
        np.testing.assert_array_equal(seen[evidence].anterior.counts, body(seed))
        np.testing.assert_array_equal(seen[evidence].posterior.counts, body(seed, side="posterior"))
    totals = {int(row["counts_anterior"]) for row in rows_of(out)}
    assert {int(body(seed).sum()) for seed in (1, 2, 3, 4)} == totals
    assert set(df["dose_mbq"]) == {"740"} and set(df["uptake_min"]) == {"180"} and set(df["tracer"]) == {"MDP"}
    assert set(df["age"]) == {65.0} and set(df["sex"]) == {"F"} and set(df["posterior_mirrored"]) == {"no"}
    assert len(read_cohort(df.assign(metastasis=0), out, n_jobs=1, progress=False).used) == 4


def test_the_real_file_of_a_millennium(tmp_path: Path) -> None:
    path = get_testdata_file("JPEG-LL.dcm")
    root = tmp_path / "pacs"
    root.mkdir()
    shutil.copy(str(path), root / "NM1")
    outcome = run(root, tmp_path / "out")
    (row,) = rows_of(tmp_path / "out")
    assert outcome.scans == 1 and row["posterior"] == "" and row["view_evidence"] == "detector"
    assert int(row["counts_anterior"]) == 3_596_452  # Counts Accumulated of the file
    assert row["scanner"].startswith("GE Millennium ") and "only the anterior view" in row["notes"]
    text = (tmp_path / "out/m.csv").read_text() + (tmp_path / "out/m_quarantine.csv").read_text()
    assert not any(word in text for word in ("8NM1", "John", "BERRA", "Compressed", "genie"))


def test_a_mirrored_posterior_view_is_told_and_not_flipped(tmp_path: Path) -> None:
    siemens_ecam(tmp_path / "pacs/x", 3, patient="C", mirrored=True)
    run(tmp_path / "pacs", tmp_path / "out")
    (row,) = rows_of(tmp_path / "out")
    assert row["posterior_mirrored"] == "yes" and "mirrored" in row["notes"]
    stored = load_scan(row, tmp_path / "out").posterior
    np.testing.assert_array_equal(stored.counts, body(3, side="posterior")[:, ::-1])


def test_an_outline_without_asymmetry_is_unsure() -> None:
    y, x = np.mgrid[-1:1:256j, -1:1:64j]
    counts = np.where((y / 0.9) ** 2 + (x / 0.6) ** 2 < 1, 50, 0).astype(np.uint16)
    assert posterior_mirrored(outline(counts), outline(counts)) == "unsure"
    assert posterior_mirrored(outline(counts), "") == "" and outline(counts[:20]) == ""


# ------------------------------------------------------------------------------------------- pairing
def test_single_files_pair_by_study_matrix_and_time(tmp_path: Path) -> None:
    root = tmp_path / "pacs"
    philips(root / "1", 1, "anterior", patient="A", time="100000")
    philips(root / "2", 2, "posterior", patient="A", time="114600")  # later than 45 minutes
    philips(root / "3", 3, "anterior", patient="B", study="1")
    philips(root / "4", 4, "posterior", patient="B", study="2")  # another study
    run(root, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert all(bool(row["anterior"]) != bool(row["posterior"]) for row in rows) and len(rows) == 3
    assert codes_of(tmp_path / "out") == ["other_acquisition"]


def test_of_two_acquisitions_of_a_study_the_late_one_is_used(tmp_path: Path) -> None:
    root = tmp_path / "pacs"
    siemens_ecam(root / "late", 1, patient="A", time="103000")
    siemens_ecam(root / "early", 2, patient="A", time="071000")
    run(root, tmp_path / "out")
    (row,) = rows_of(tmp_path / "out")
    assert row["uptake_min"] == "210" and codes_of(tmp_path / "out") == ["other_acquisition"]


def test_views_that_nothing_tells_are_set_aside_but_for_the_second_of_two(tmp_path: Path) -> None:
    root = tmp_path / "pacs"
    for name in ("1", "2"):
        ge_millennium(root / name, int(name), 0, patient="A")
    philips(root / "3", 3, "posterior", patient="B")
    philips(root / "4", 3, "anterior", patient="B", text=False)
    run(root, tmp_path / "out")
    (row,) = rows_of(tmp_path / "out")
    assert codes_of(tmp_path / "out") == ["views_unclear"] * 2
    np.testing.assert_array_equal(load_scan(row, tmp_path / "out").anterior.counts, body(3))


def test_two_partners_at_the_same_time_are_not_guessed(tmp_path: Path) -> None:
    root = tmp_path / "pacs"
    philips(root / "1", 1, "anterior", patient="A")
    for seed in (2, 3):
        philips(root / f"p{seed}", seed, "posterior", patient="A")
    outcome = run(root, tmp_path / "out")
    assert outcome.scans == 0 and codes_of(tmp_path / "out") == ["views_unclear"] * 3


def test_copies_conflicts_and_pixels_of_another_patient(tmp_path: Path) -> None:
    root = tmp_path / "pacs"
    siemens_ecam(root / "a/1", 1, patient="A")
    shutil.copy(root / "a/1", root / "a/2")
    first = pydicom.dcmread(siemens_ecam(root / "b/1", 2, patient="B"))
    first.PixelData = (first.pixel_array + 1).astype("<u2").tobytes()
    first.CountsAccumulated = 0
    first.save_as(root / "b/2")  # the same instance, other pixels
    siemens_ecam(root / "c", 3, patient="C")
    siemens_ecam(root / "d", 3, patient="D")
    siemens_ecam(root / "e1", 5, patient="E", study="1")
    siemens_ecam(root / "e2", 5, patient="E", study="2")
    outcome = run(root, tmp_path / "out")
    assert outcome.scans == 2 and adds_up(root, outcome)
    assert codes_of(tmp_path / "out") == ["copy"] * 2 + ["instance_conflict"] * 2 + ["shared_pixels"] * 2
    images = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out/images").rglob("*.png")}
    assert images == {row[view] for row in rows_of(tmp_path / "out") for view in ("anterior", "posterior")}


def test_days_and_hints(tmp_path: Path) -> None:
    root = tmp_path / "pacs"
    siemens_ecam(root / "1", 1, patient="A", study="1", date="20200110")
    siemens_ecam(root / "2", 2, patient="a ", study="2", date="20200210")  # the same id, written otherwise
    other = pydicom.dcmread(siemens_ecam(root / "3", 3, patient="X"))
    other.PatientName = "NAME^A"
    other.save_as(root / "3")
    run(root, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    days: dict[str, set[str]] = {}
    for row in rows:
        days.setdefault(row["patient_id"], set()).add(row["study_day"])
    assert sorted(map(sorted, days.values())) == [["0"], ["0", "31"]]
    assert len({row["person_hint"] for row in rows}) == 1  # one name, birth date and sex under two ids


# ------------------------------------------------------------------------------------------- what is not a scan
def test_other_images_and_junk_have_a_reason(tmp_path: Path) -> None:
    root, out = tmp_path / "pacs", tmp_path / "out"
    siemens_ecam(root / "ok", 1, patient="A")
    shutil.copy(str(get_testdata_file("CT_small.dcm")), root / "ct")
    burned = pydicom.dcmread(siemens_ecam(root / "burned", 2, patient="B"))
    burned.BurnedInAnnotation = "YES"
    burned.save_as(root / "burned")
    removed = pydicom.dcmread(siemens_ecam(root / "removed", 3, patient="C"))
    removed.PatientIdentityRemoved = "YES"
    removed.save_as(root / "removed")
    nameless = pydicom.dcmread(siemens_ecam(root / "nameless", 4, patient="D"))
    nameless.PatientID = ""
    nameless.save_as(root / "nameless")
    save(root / "zero", header(np.zeros((1, 128, 32), np.uint16), patient="E", study="1"))
    (root / "ok.txt").write_text("notes")
    (root / "empty").touch()
    (root / "cut").write_bytes((root / "ok").read_bytes()[:9000])
    (root / "._ok").write_bytes(b"\0\5\26\7")
    (root / "Thumbs.db").write_bytes(b"x")
    outcome = run(root, out)
    assert outcome.scans == 1 and outcome.ignored == {"system_file": 2} and adds_up(root, outcome)
    found = ["all_zero", "burned_in", "empty", "identity", "modality", "no_patient", "not_dicom", "truncated"]
    assert codes_of(out) == found
    table = read_text_csv(out / "m_quarantine.csv")
    assert list(table.columns) == ["file", "row", "scan_id", "code", "reason", "next_step"]
    assert (table["reason"] != "").all() and (table["next_step"] != "").all() and (table["file"] != "").all()


def test_the_keeper_of_the_key_finds_every_file(tmp_path: Path) -> None:
    root, out = tmp_path / "pacs", tmp_path / "out"
    siemens_ecam(root / "kim/ok", 1, patient="A")
    (root / "kim/empty").touch()
    run(root, out)
    (links,) = (tmp_path / "keys").glob("*.links.csv")
    found = {row["path"]: row for row in read_text_csv(links).to_dict("records")}
    (aside,) = read_text_csv(out / "m_quarantine.csv").to_dict("records")
    assert found["kim/empty"]["file"] == aside["file"] and found["kim/ok"]["scan_id"] == rows_of(out)[0]["scan_id"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").iterdir()} == {0o600}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from("scan front back ct cut empty link index junk copy".split()), min_size=1, max_size=8))
def test_nothing_is_lost_whatever_the_mix(tmp_path_factory: pytest.TempPathFactory, kinds: list[str]) -> None:
    base = tmp_path_factory.mktemp("mix")
    root = base / "pacs"
    root.mkdir()
    for at, kind in enumerate(kinds):
        path = root / f"{at}" / "f"
        path.parent.mkdir()
        if kind == "scan":
            siemens_ecam(path, at, patient=str(at % 3), study=str(at))
        elif kind in ("front", "back"):
            philips(path, at, {"front": "anterior", "back": "posterior"}[kind], patient="P")
        elif kind == "copy":
            siemens_ecam(path, 99, patient=str(at % 2))
        elif kind == "link":
            path.symlink_to(root)
        else:
            name = {"index": "DICOMDIR", "junk": ".DS_Store"}.get(kind, "f")
            path.with_name(name).write_bytes(
                {"ct": b"\0" * 128 + b"DICM", "cut": b"text", "empty": b""}.get(kind, b"x")
            )
    outcome = run(root, base / "out")
    assert sum(outcome.ends.values()) == len(kinds)
    named = [
        row[view] for row in (rows_of(base / "out") if outcome.scans else []) for view in ("anterior", "posterior")
    ]
    assert outcome.ends["used"] >= outcome.scans and len(set(named) - {""}) == len([name for name in named if name])


# ------------------------------------------------------------------------------------------- hostile input
def nested(path: Path, levels: int) -> None:
    """Writes sequences within sequences, by bytes: pydicom's own writer would recurse."""
    ds = header(body(1)[None], patient="N", study="1")
    del ds.RadiopharmaceuticalInformationSequence
    save(path, ds)
    start = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    data = path.read_bytes()
    at = data.index(b"\x10\x00\x10\x00PN")
    path.write_bytes(data[:at] + start * levels + end * levels + data[at:])


@pytest.mark.slow  # seconds, by the files that are hostile
def test_hostile_files_cost_little_and_the_rest_goes_on(tmp_path: Path) -> None:
    root, out = tmp_path / "pacs", tmp_path / "out"
    siemens_ecam(root / "ok", 1, patient="A")
    good = (root / "ok").read_bytes()
    nested(root / "nested", 1000)
    at = good.index(b"\x10\x00\x10\x00")  # Patient's Name
    (root / "claim").write_bytes(good[: at + 4] + struct.pack("<I", 0xFFFFFFFE) + good[at + 8 :])
    save(root / "bomb", header(body(2)[None], patient="B", study="1"), syntax=uid.DeflatedExplicitVRLittleEndian)
    bomb = pydicom.dcmread(root / "bomb", stop_before_pixels=True)
    head = (root / "bomb").read_bytes()[: 132 + 12 + bomb.file_meta.FileMetaInformationGroupLength]
    packer = zlib.compressobj(9, wbits=-15)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()
    (root / "bomb").write_bytes(head + packed)
    huge = pydicom.dcmread(siemens_ecam(root / "huge", 3, patient="C"))
    huge.Rows = huge.Columns = 65_535
    huge.save_as(root / "huge")
    os.mkfifo(root / "pipe")
    (root / "loop").symlink_to(root)
    (root / "ring").symlink_to("ring")
    deep = root
    for _ in range(200):
        deep = deep / "d"
        deep.mkdir()
    siemens_ecam(deep / "x", 5, patient="D")
    began = time.monotonic()
    outcome = run(root, out)
    assert time.monotonic() - began < 30
    assert outcome.scans >= 2 and outcome.ignored == {"link": 2} and sum(outcome.ends.values()) == 9
    assert codes_of(out) == ["damaged", "not_file", *["too_large"] * 3]


def test_a_name_that_is_no_text_and_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    root, out = tmp_path / "pacs", tmp_path / "out"
    siemens_ecam(root / "x", 1, patient="A")
    (root / "x").rename(root / os.fsdecode(b"\xff\xfe"))
    closed = root / "closed"
    closed.mkdir(mode=0o000)
    outcome = run(root, out)
    closed.chmod(0o700)
    assert outcome.scans == 1
    if os.geteuid():  # root reads it all the same
        assert codes_of(out) == ["unreadable"]


# ------------------------------------------------------------------------------------------- privacy
CANARY = "ZQCANARY"
TEXT_VRS = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"}


def poison(ds: Dataset) -> None:
    """Writes a canary into every text attribute of a data set, nested and private ones included."""
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                poison(item)
        elif element.VR in TEXT_VRS and element.keyword not in ("Modality", "ImageType", "PhotometricInterpretation"):
            element.value = CANARY if element.VR != "PN" else f"{CANARY}^NAME"
    for keyword in (
        "PatientName OtherPatientNames PatientAddress PatientComments AdditionalPatientHistory Occupation ImageComments"
        " ReferringPhysicianName OperatorsName StationName InstitutionAddress StudyDescription SeriesDescription"
        " ProtocolName RequestingService DeviceSerialNumber PatientTelephoneNumbers AdmissionID IssuerOfPatientID"
        " BodyPartExamined SoftwareVersions PerformedProcedureStepDescription EthnicGroup StudyID ImageID"
    ).split():
        setattr(ds, keyword, f"{CANARY}^X" if "Name" in keyword else CANARY)
    ds.add_new(0x60000022, "LO", CANARY)  # of an overlay
    ds.private_block(0x0029, CANARY, create=True).add_new(0x10, "LT", CANARY)


@pytest.mark.parametrize("modality", ["NM", CANARY])
def test_canaries_in_every_text_and_name_are_found_nowhere(
    tmp_path: Path, modality: str, capfd: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / f"{CANARY} pacs", tmp_path / "out"
    folder = root / f"{CANARY}_19500101"
    siemens_ecam(folder / f"{CANARY}.dcm", 1, patient="A")
    ge_xeleris(folder / f"{CANARY}_2", 2, patient="B")
    ge_millennium(folder / f"{CANARY}_3", 3, 1, patient="C")
    for path in sorted(folder.iterdir()):
        ds = pydicom.dcmread(path)
        poison(ds)
        ds.Modality = modality
        ds.PatientID = f"{CANARY}{path.name[-1]}"
        if path.name.endswith("2"):
            ds.PhotometricInterpretation = CANARY
        ds.save_as(path)
        data = bytearray(path.read_bytes())
        data[: len(CANARY)] = CANARY.encode()  # the preamble
        path.write_bytes(data)
    (folder / f"{CANARY}.txt").write_text(CANARY)
    (folder / f"cut{CANARY}").write_bytes((folder / f"{CANARY}.dcm").read_bytes()[:2000])
    reports = tmp_path / "reports.csv"
    reports.write_text(
        f"accession,patient_name,text,label,primary_cancer\n{CANARY},{CANARY},{CANARY} {CANARY},{CANARY},{CANARY}\n"
    )
    arguments = ["ingest", str(root), "--out", str(out / "m.csv"), "--key", str(tmp_path / "keys/k"), "--jobs", "1"]
    assert main([*arguments, "--reports", str(reports)]) == 2
    said = capfd.readouterr()
    everything = said.out + said.err
    for path in out.rglob("*"):
        everything += str(path.relative_to(out)) + (path.read_bytes().decode("latin-1") if path.is_file() else "")
    assert CANARY.lower() not in everything.lower() and "19500101" not in everything and "19550701" not in everything


def test_pseudonyms_need_the_key(tmp_path: Path) -> None:
    siemens_ecam(tmp_path / "pacs/x", 1, patient="A")
    ids = []
    for name in ("one", "one", "two"):
        out = tmp_path / name / "out"
        ingest_folder(tmp_path / "pacs", out / "m.csv", key_file=tmp_path / name / "k", n_jobs=1, progress=False)
        ids.append((rows_of(out)[0]["patient_id"], rows_of(out)[0]["scan_id"]))
    assert ids[0] == ids[1] and not set(ids[0]) & set(ids[2])


def test_the_key_is_made_once_outside_the_output_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "k"
    key = load_key(path, output=tmp_path / "out")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and len(key) == 32
    assert load_key(path, output=tmp_path / "out") == key
    for spoil, says in (
        (lambda: path.chmod(0o644), "chmod 600"),
        (lambda: (path.chmod(0o600), path.write_text("abc")), "64 hexadecimal digits"),
    ):
        spoil()
        with pytest.raises(KeyFileError, match=says):
            load_key(path, output=tmp_path / "out")
    with pytest.raises(KeyFileError, match="folder of the manifest"):
        load_key(tmp_path / "out" / "deep" / "k", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------- reports, resuming, CLI
def test_reports_find_their_scans_and_no_text_is_copied(tmp_path: Path) -> None:
    root, out = tmp_path / "pacs", tmp_path / "out"
    siemens_ecam(root / "1", 1, patient="A")  # ACCA1, 2021-03-15
    siemens_ecam(root / "2", 2, patient="B")
    siemens_ecam(root / "3", 3, patient="C")
    reports = tmp_path / "r.csv"
    reports.write_text(
        "accession,patient_id,date,text,label,primary_cancer\n"
        "ACCA1,,2021-03-16,secret text,positive,Prostatic adenocarcinoma\n"
        ',b,2021-03-15,"two\nlines",negative,유방암\n'
        "none,C,2021-06-01,late,positive,lung\n"
        "ACCA1,A,2021-03-17,second,negative,lung\n"
    )
    outcome = run(root, out, reports=reports)
    found = {row["report_row"]: row for row in rows_of(out)}
    told = {row: tuple(found[row][f"report_{name}"] for name in ("label", "days")) for row in ("2", "3")}
    assert told == {"2": ("positive", "1"), "3": ("negative", "0")}
    assert (found["2"]["primary_cancer"], found["3"]["primary_cancer"]) == ("prostate", "breast")
    assert outcome.reports == (4, 2) and found[""]["report_label"] == ""
    aside = read_text_csv(out / "m_quarantine.csv")
    assert list(zip(aside["file"], aside["row"], aside["code"], strict=True)) == [
        ("reports", "4", "report_unlinked"),
        ("reports", "5", "report_second"),
    ]
    assert "secret" not in (out / "m.csv").read_text()
    assert all(row["metastasis"] == "" for row in found.values())  # a report's label is no label of the cohort


def test_it_resumes_and_reads_again_only_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bonescan_utils.ingest import folder as module

    root, out = tmp_path / "pacs", tmp_path / "out"
    for at in range(3):
        siemens_ecam(root / str(at), at, patient=str(at))
    read: list[str] = []
    stops: list[str] = []  # once: later on, the image that is removed may be of any of the three
    real = module.examine

    def stopped(path: str, **options: object) -> dict[str, object]:
        read.append(path)
        if path == "2" and not stops:
            stops.append(path)
            raise KeyboardInterrupt
        return real(path, **options)

    monkeypatch.setattr(module, "examine", stopped)
    monkeypatch.setattr(module, "COMMIT_EVERY", 1)
    with pytest.raises(KeyboardInterrupt):
        run(root, out)
    assert not (out / "m.csv").exists()
    assert run(root, out).scans == 3 and sorted(read) == ["0", "1", "2", "2"]
    first = (out / "m.csv").read_bytes()
    read.clear()
    next((out / "images").rglob("*_anterior.png")).unlink()
    assert run(root, out).scans == 3 and len(read) == 1 and (out / "m.csv").read_bytes() == first
    read.clear()
    siemens_ecam(root / "1", 7, patient="1")
    (root / "0").unlink()
    assert run(root, out).scans == 2 and read == ["1"]


@pytest.mark.slow  # worker processes take seconds to start
def test_parallel_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bonescan_utils.ingest.folder.SERIAL_BELOW", 0)
    for at in range(4):
        siemens_ecam(tmp_path / f"pacs/{at}", at, patient=str(at))
    run(tmp_path / "pacs", tmp_path / "one")
    ingest_folder(tmp_path / "pacs", tmp_path / "two/m.csv", key_file=tmp_path / "keys/k", n_jobs=2, progress=False)
    assert (tmp_path / "one/m.csv").read_bytes() == (tmp_path / "two/m.csv").read_bytes()


def test_what_an_ingest_wrote_into_the_folder_is_no_input_of_the_next(tmp_path: Path) -> None:
    root = tmp_path / "pacs"
    siemens_ecam(root / "x", 1, patient="A")
    command = ["ingest", str(root), "--out", str(root / "m.csv"), "--key", str(tmp_path / "k/k")]
    assert main(command) == main(command) == 0
    assert read_csv(root / "m_flow.csv")["n"].tolist() == [1, 1, 1, 1] and (root / "m_flow.png").exists()


def test_a_manifest_that_was_worked_on_is_not_overwritten(tmp_path: Path) -> None:
    root, out = tmp_path / "pacs", tmp_path / "out"
    siemens_ecam(root / "x", 1, patient="A")
    run(root, out)
    path = out / "m.csv"
    path.write_text(path.read_text().replace("_posterior.png,,", "_posterior.png,1,"))
    with pytest.raises(ManifestError, match="worked on"):
        run(root, out)


def test_exit_codes_and_messages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    siemens_ecam(tmp_path / "pacs/x", 1, patient="A")
    command = ["ingest", str(tmp_path / "pacs"), "--out", str(tmp_path / "out/m.csv"), "--key", str(tmp_path / "k/k")]
    assert main(command) == 0
    assert "1 files: 1 used, 0 quarantined, 0 ignored." in capsys.readouterr().out
    assert Image.open(tmp_path / "out/m_flow.png").width > 500
    (tmp_path / "pacs/bad").touch()
    assert main(command) == 2
    assert main(["check", str(tmp_path / "out/m.csv")]) == 2
    out = capsys.readouterr().out
    assert out.count("metastasis") == 1 and "no labels yet" in out
    nowhere, inside = [command[0], str(tmp_path / "nowhere"), *command[2:]], [*command[:5], str(tmp_path / "out/k")]
    for wrong in (nowhere, inside):
        assert main(wrong) == 2
        assert "Traceback" not in capsys.readouterr().err
