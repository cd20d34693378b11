"""Each fault of a DICOM export: what becomes of the file, and which words say why. One batch holds them all."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from test_ingest import adds_up, run
from vendor_files import add_windows, siemens_ecam

from bonescan_utils.files import read_text_csv

Row = dict[str, str]


def changed(change: Callable[[Dataset], object]) -> Callable[[Path, int], None]:
    """Returns what writes a good file with one change."""

    def write(path: Path, seed: int) -> None:
        ds = pydicom.dcmread(siemens_ecam(path, seed, patient=str(seed)))
        change(ds)
        ds.save_as(path)

    return write


def pixels(change: Callable[[np.ndarray], np.ndarray], **cells: object) -> Callable[[Path, int], None]:
    """Returns what writes a good file with other pixels."""

    def write(ds: Dataset) -> None:
        ds.PixelData = change(ds.pixel_array).astype("<u2").tobytes()
        ds.CountsAccumulated = 0
        for name, cell in cells.items():
            setattr(ds, name, cell)

    return changed(write)


def content(data: bytes) -> Callable[[Path, int], None]:
    return lambda path, seed: path.write_bytes(data) and None


def cut(path: Path, seed: int) -> None:
    siemens_ecam(path, seed, patient=str(seed))
    path.write_bytes(path.read_bytes()[:-5000])


def zipped(path: Path, seed: int) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")


def computed_tomography(path: Path, seed: int) -> None:
    shutil.copy(str(get_testdata_file("CT_small.dcm")), path)


def half(frames: np.ndarray) -> np.ndarray:
    frames = frames.copy()
    frames[:, frames.shape[1] // 2 :] = 0
    return frames


def swamped(frames: np.ndarray) -> np.ndarray:
    return np.where(frames > np.percentile(frames, 90), 4095, np.minimum(frames, 4000))


def matrix(ds: Dataset) -> None:
    ds.Rows = ds.Columns = 128
    ds.PixelData = np.ones((2, 128, 128), "<u2").tobytes()


def codeless(ds: Dataset) -> None:
    for item in ds.DetectorInformationSequence:
        del item.ViewCodeSequence


def iodine(ds: Dataset) -> None:
    add_windows(ds, (328.0, 400.0), vector=[1, 1])


def removed(ds: Dataset) -> None:
    ds.PatientIdentityRemoved, ds.PatientName = "YES", "KIM^GILDONG"


FAULTS: dict[str, tuple[Callable[[Path, int], object], str, str]] = {
    "zero bytes": (lambda path, seed: path.touch(), "empty", "zero bytes"),
    "text": (content(b"hello"), "not_dicom", "text, not a DICOM file"),
    "pointer": (content(b"version https://git-lfs.github.com/spec/v1\n"), "not_dicom", "Git LFS pointer"),
    "web page": (content(b"<html><body>404</body></html>"), "not_dicom", "an HTML or XML page"),
    "archive": (zipped, "not_dicom", "a ZIP archive"),
    "cut short": (cut, "truncated", "pixel bytes; 2 frames need 16,384"),
    "too many bytes": (changed(lambda ds: setattr(ds, "PixelData", ds.PixelData * 2)), "frames", "2 frames need"),
    "frames that lie": (changed(lambda ds: setattr(ds, "NumberOfFrames", 3)), "truncated", "3 frames need 24,576"),
    "huge": (changed(lambda ds: (setattr(ds, "Rows", 65535), setattr(ds, "Columns", 20000))), "too_large", "at most"),
    "other modality": (computed_tomography, "modality", "Modality is CT; expected NM"),
    "spot view": (
        changed(lambda ds: setattr(ds, "ImageType", ["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"])),
        "not_whole_body", "TOMO (128 x 32); expected WHOLE BODY",
    ),
    "square": (changed(matrix), "matrix", "128 rows x 128 columns"),
    "no view codes": (changed(codeless), "views_unclear", "unknown, unknown; expected one anterior and one posterior"),
    "all zero": (pixels(lambda x: x * 0), "all_zero", "every pixel is 0"),
    "constant": (pixels(lambda x: x * 0 + 7), "constant", "every pixel is 7"),
    "saturated": (pixels(swamped), "saturated", "of the pixels at 4095; limit 2.0%"),
    "half empty": (pixels(half), "half_empty", "the lower half holds 0.00% of the counts; limit 1 %"),
    "one view twice": (pixels(lambda x: np.stack([x[0], x[0]])), "same_views", "both views have the same pixels"),
    "below zero": (
        changed(lambda ds: (setattr(ds, "PixelRepresentation", 1), setattr(ds, "PixelData", b"\xff" * 16384))),
        "negative", "below zero (lowest -1)",
    ),
    "rescaled": (changed(lambda ds: setattr(ds, "RescaleSlope", "2")), "rescaled", "RescaleSlope"),
    "white is zero": (
        changed(lambda ds: setattr(ds, "PhotometricInterpretation", "MONOCHROME1")),
        "inverted", "PhotometricInterpretation is MONOCHROME1; expected MONOCHROME2",
    ),
    "odd spacing": (changed(lambda ds: setattr(ds, "PixelSpacing", ["0", "2"])), "spacing", "0.5 to 12 mm"),
    "iodine": (changed(iodine), "energy_window", "none known to hold 140 keV"),
    "text in the image": (changed(lambda ds: setattr(ds, "BurnedInAnnotation", "YES")), "burned_in", "burned into"),
    "a name is left": (changed(removed), "identity", "Patient's Name holds a name"),
    "no patient": (changed(lambda ds: setattr(ds, "PatientID", "")), "no_patient", "no Patient ID"),
    "pipe": (lambda path, seed: os.mkfifo(path), "not_file", "a device, pipe or socket"),
}  # fmt: skip
"""Fault -> what writes the file, its code, words of its reason."""


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Row], dict[str, Row]]:
    """Returns by path: links of all files, and rows of quarantine."""
    base = tmp_path_factory.mktemp("faults")
    root, out = base / "pacs", base / "out"
    root.mkdir()
    for seed, (name, (write, _, _)) in enumerate(FAULTS.items(), start=10):
        write(root / name, seed)
    siemens_ecam(root / "good", 1, patient="A")
    shutil.copy(root / "good", root / "good copy")
    for name, seed in (("instance 1", 2), ("instance 2", 3)):
        ds = pydicom.dcmread(siemens_ecam(root / name, seed, patient="B"))
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        ds.save_as(root / name)
    (root / "._good").write_bytes(b"x")
    (root / "ring").symlink_to("ring")
    outcome = run(root, out)
    assert outcome.scans == 1 and adds_up(root, outcome)
    (links,) = (base / "keys").glob("*.links.csv")
    by_path = {row["path"]: row for row in read_text_csv(links).to_dict("records")}
    aside = {row["file"]: row for row in read_text_csv(out / "m_quarantine.csv").to_dict("records")}
    return by_path, {path: aside[row["file"]] for path, row in by_path.items() if row["file"] in aside}  # type: ignore[return-value]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_its_code_and_words(batch: tuple[dict[str, Row], dict[str, Row]], name: str) -> None:
    links, aside = batch
    _, code, words = FAULTS[name]
    assert links[name]["end"] == "quarantined" and aside[name]["code"] == code
    assert words in aside[name]["reason"] and aside[name]["next_step"]
    assert len(aside[name]["reason"]) < 500 and "KIM" not in aside[name]["reason"]


def test_copies_instances_and_what_is_never_opened(batch: tuple[dict[str, Row], dict[str, Row]]) -> None:
    links, aside = batch
    assert links["good"]["end"] == "used"
    assert aside["good copy"]["code"] == "copy" and "which is used" in aside["good copy"]["reason"]
    for name in ("instance 1", "instance 2"):
        assert aside[name]["code"] == "instance_conflict" and "SOP Instance UID" in aside[name]["reason"]
    assert {name: links[name]["end"] for name in ("._good", "ring")} == {"._good": "ignored", "ring": "ignored"}
