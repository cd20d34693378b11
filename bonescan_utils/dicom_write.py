"""Scan -> DICOM NM whole-body file, as a gamma camera fills it. For synthetic scans only.

Source: DICOM PS3.3 section C.8.4 (nuclear medicine modules); PS3.16 CID 26 (views), CID 18 and 25 (tracer).
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

import numpy as np
from jpeg_ls import CharLS
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.tag import Tag
from pydicom.uid import UID, JPEGLSLossless, NuclearMedicineImageStorage, generate_uid

from bonescan_utils.files import write_bytes
from bonescan_utils.scan import Scan, ScanError, View

WINDOW_KEV = (126.0, 154.0)  # 140 keV +- 10 %
VELOCITY_MM_S = 2.5  # 15 cm/min
ACTIVITY_MBQ = 740.0
DATE, INJECTED, ACQUIRED = "20200101", "070000", "100000"  # fixed: images three hours after injection

VIEW_CODES = {
    "anterior": ("399321004", "SCT", "Anterior projection"),
    "posterior": ("399001007", "SCT", "Posterior projection"),
}
_IMPLEMENTATION = generate_uid(entropy_srcs=["bonescan phantom writer"])


def write_dicom(path: str | Path, scan: Scan, *, patient_id: str, sex: str, age: float, study_seed: str) -> str:
    """Writes a synthetic scan as one NM whole-body file: one frame per view, 16 bits, JPEG-LS lossless.

    The same arguments give the same bytes: UIDs are derived from `study_seed` and the scan id, dates are
    fixed, and nothing of the machine enters.

    Args:
        path: The file to write, atomically.
        scan: Counts as uint16; its views become frames 1 and 2, anterior first.
        patient_id: An id of letters, digits, `-`, `_` and `.`; the name becomes `PHANTOM^<id>`.
        sex: F, M or O.
        age: Years, 0 to 120.
        study_seed: Text that makes the UIDs; give each cohort its own.

    Returns:
        The SHA-256 of the file.

    Raises:
        ScanError: Counts above 65,535, or two views of different matrix or pixel size.
        ValueError: Patient id, sex or age out of range.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,48}", patient_id):
        raise ValueError(f"patient_id {patient_id!r}: expected 1 to 48 of A-Z a-z 0-9 . _ -")
    if sex not in ("F", "M", "O") or not 0 <= age <= 120:
        raise ValueError(f"sex {sex!r}, age {age!r}: expected F, M or O, and 0 to 120 years")
    frames = _frames(scan, path)
    uids = {part: _uid(study_seed, scan.scan_id, part) for part in ("study", "series", "instance", "frame")}
    ds = Dataset()
    _add_patient_and_study(ds, scan, uids, patient_id=patient_id, sex=sex, age=age)
    _add_acquisition(ds, scan.views, frames)
    _add_detectors(ds, scan.views)
    _add_energy_window(ds, len(frames))
    _add_radiopharmaceutical(ds)
    _add_pixels(ds, frames)
    data = _encoded(ds, uids["instance"])
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def _frames(scan: Scan, path: str | Path) -> list[np.ndarray]:
    """Returns the counts of the views, checked to fit in one file."""
    views = scan.views
    if len({view.counts.shape for view in views}) > 1 or len({view.pixel_mm for view in views}) > 1:
        raise ScanError("matrix", "the two views differ in matrix or pixel size", path=path)
    if any(view.counts.dtype != np.uint16 for view in views):
        raise ScanError("not_counts", "a pixel holds over 65,535 counts, more than 16 bits do", path=path)
    return [view.counts for view in views]


def _uid(*parts: str) -> str:
    return generate_uid(entropy_srcs=["bonescan phantom", *parts])


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    """Returns one item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _add_patient_and_study(
    ds: Dataset, scan: Scan, uids: dict[str, str], *, patient_id: str, sex: str, age: float
) -> None:
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = NuclearMedicineImageStorage, uids["instance"]
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uids["study"], uids["series"]
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = uids["frame"], ""
    ds.PatientName, ds.PatientID = f"PHANTOM^{patient_id}", patient_id
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "", sex, f"{int(age):03d}Y"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = DATE
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = ACQUIRED
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", 1, 1
    ds.AccessionNumber = ds.ReferringPhysicianName = ""
    ds.StudyDescription, ds.SeriesDescription = "Whole body bone (synthetic)", "WHOLE BODY"
    ds.ImageComments = f"Synthetic phantom {scan.scan_id}: not a patient, not for diagnosis"[:200]
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "NM", "BONESCAN PHANTOM", "PHANTOM 1"
    ds.BurnedInAnnotation = "NO"
    ds.PatientOrientationCodeSequence = [_code("102538003", "SCT", "recumbent")]
    supine = _code("40199007", "SCT", "supine")
    ds.PatientOrientationCodeSequence[0].PatientOrientationModifierCodeSequence = [supine]
    ds.PatientGantryRelationshipCodeSequence = [_code("102540008", "SCT", "headfirst")]


def _add_acquisition(ds: Dataset, views: tuple[View, ...], frames: list[np.ndarray]) -> None:
    ds.ImageType = ["ORIGINAL", "PRIMARY", "WHOLE BODY", "EMISSION"]
    ds.ImageID, ds.LossyImageCompression, ds.WholeBodyTechnique = "WHOLE BODY", "00", "1PS"
    ds.NumberOfFrames = len(frames)
    ds.FrameIncrementPointer = [Tag("EnergyWindowVector"), Tag("DetectorVector")]
    ds.CountsAccumulated = sum(view.total for view in views)
    ds.PixelSpacing = None
    if views[0].pixel_mm is not None:
        ds.PixelSpacing = [f"{size:.6g}" for size in views[0].pixel_mm]
        length = frames[0].shape[0] * views[0].pixel_mm[0]
        ds.ScanLength, ds.ScanVelocity = round(length), f"{VELOCITY_MM_S:g}"
        ds.ActualFrameDuration = round(1000 * length / VELOCITY_MM_S)


def _add_detectors(ds: Dataset, views: tuple[View, ...]) -> None:
    """One detector per view: its item holds the view code, and the vector leads from a frame to it."""
    ds.NumberOfDetectors = len(views)
    ds.DetectorVector = list(range(1, len(views) + 1))
    ds.DetectorInformationSequence = []
    for view in views:
        item = Dataset()
        item.CollimatorGridName, item.CollimatorType = "LEHR", "PARA"
        item.FieldOfViewShape, item.FieldOfViewDimensions = "RECTANGLE", [540, 400]
        item.FocalDistance, item.ZoomFactor = 0, ["1", "1"]
        item.ViewCodeSequence = [_code(*VIEW_CODES[view.name])]
        ds.DetectorInformationSequence.append(item)


def _add_energy_window(ds: Dataset, n_frames: int) -> None:
    ds.NumberOfEnergyWindows = 1
    ds.EnergyWindowVector = [1] * n_frames
    limits = Dataset()
    limits.EnergyWindowLowerLimit, limits.EnergyWindowUpperLimit = WINDOW_KEV
    window = Dataset()
    window.EnergyWindowName = "Tc-99m"
    window.EnergyWindowRangeSequence = [limits]
    ds.EnergyWindowInformationSequence = [window]


def _add_radiopharmaceutical(ds: Dataset) -> None:
    item = Dataset()
    item.Radiopharmaceutical = "Tc-99m MDP"
    item.RadiopharmaceuticalStartTime, item.RadionuclideTotalDose = INJECTED, ACTIVITY_MBQ
    item.RadionuclideCodeSequence = [_code("72454006", "SCT", "^99m^Technetium")]
    item.RadiopharmaceuticalCodeSequence = [_code("96390006", "SCT", "Technetium Tc^99m^ medronate")]
    item.AdministrationRouteCodeSequence = [_code("47625008", "SCT", "Intravenous route")]
    ds.RadiopharmaceuticalInformationSequence = [item]


def _add_pixels(ds: Dataset, frames: list[np.ndarray]) -> None:
    ds.Rows, ds.Columns = frames[0].shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    streams = [bytes(CharLS.encode_buffer(np.ascontiguousarray(f, "<u2").tobytes(), *f.shape, 1, 16)) for f in frames]
    ds.PixelData = encapsulate([stream + b"\x00" * (len(stream) % 2) for stream in streams])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True


def _encoded(ds: Dataset, instance_uid: str) -> bytes:
    """Returns the bytes of the file."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = NuclearMedicineImageStorage
    meta.MediaStorageSOPInstanceUID = UID(instance_uid)
    meta.TransferSyntaxUID = JPEGLSLossless
    meta.ImplementationClassUID, meta.ImplementationVersionName = _IMPLEMENTATION, "BONESCAN_1"
    ds.file_meta = meta
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()
