"""DICOM files as cameras of several makers write them, fabricated with plain pydicom: headers, habits, and traps."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

SIZE = 128, 32


def body(seed: int, *, side: str = "anterior", rows: int = SIZE[0], columns: int = SIZE[1]) -> np.ndarray:
    """Returns uint16 counts of a body with one arm held out, so that its outline tells left from right."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    x = x if side == "anterior" else -x
    inside = ((y / 0.92) ** 2 + (x / 0.45) ** 2 < 1) | ((np.abs(y + 0.2) < 0.25) & (x > 0.4) & (x < 0.85))
    expected = np.where(inside, 700.0 + 300.0 * (np.abs(x) < 0.12), 1.0) * (SIZE[0] * SIZE[1] / rows / columns)
    return np.random.default_rng([seed, side == "anterior"]).poisson(expected).astype(np.uint16)


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Returns an item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def header(frames: np.ndarray, *, patient: str, study: str, time: str = "100000", date: str = "20210315") -> Dataset:
    """Returns what all makers fill in."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = uid.NuclearMedicineImageStorage, uid.generate_uid()
    ds.StudyInstanceUID = uid.generate_uid(entropy_srcs=[patient, study])
    ds.SeriesInstanceUID = uid.generate_uid(entropy_srcs=[patient, study, "series"])
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = patient, f"NAME^{patient}", "19550701", "F"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = date
    ds.StudyTime, ds.AcquisitionTime = "090000", time
    ds.AccessionNumber, ds.InstitutionName = f"ACC{patient}{study}", "General Hospital"
    ds.Modality, ds.ImageType = "NM", ["ORIGINAL", "PRIMARY", "WHOLE BODY", "EMISSION"]
    ds.NumberOfFrames, ds.Rows, ds.Columns = frames.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelSpacing = 1, "MONOCHROME2", ["2.4", "2.4"]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.CountsAccumulated = int(frames.sum())
    ds.PixelData = frames.astype("<u2").tobytes()
    add_dose(ds)
    return ds


def add_dose(ds: Dataset, *, start: str = "070000", activity: float = 740.0) -> None:
    """Adds tracer, activity and time of injection."""
    item = Dataset()
    item.Radiopharmaceutical, item.RadiopharmaceuticalStartTime = "Tc-99m MDP", start
    item.RadionuclideTotalDose = activity
    ds.RadiopharmaceuticalInformationSequence = Sequence([item])


def add_windows(ds: Dataset, *limits: tuple[float, float], vector: list[int]) -> None:
    """Adds energy windows and the window of each frame."""
    items = []
    for low, high in limits:
        item, one = Dataset(), Dataset()
        one.EnergyWindowLowerLimit, one.EnergyWindowUpperLimit = low, high
        item.EnergyWindowRangeSequence = Sequence([one])
        items.append(item)
    ds.EnergyWindowInformationSequence = Sequence(items)
    ds.NumberOfEnergyWindows, ds.EnergyWindowVector = len(limits), vector


def add_detectors(ds: Dataset, codes: list[tuple[str, str, str]], vector: list[int]) -> None:
    """Adds detectors with their view codes, and the detector of each frame."""
    items = []
    for one in codes:
        item = Dataset()
        item.CollimatorGridName, item.ViewCodeSequence = "LEHR", Sequence([code(*one)])
        items.append(item)
    ds.DetectorInformationSequence = Sequence(items)
    ds.NumberOfDetectors, ds.DetectorVector = len(codes), vector


def save(path: Path, ds: Dataset, *, syntax: str = uid.ExplicitVRLittleEndian) -> Path:
    """Writes a file."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def jpeg_lossless(frame: np.ndarray) -> bytes:
    """Returns 16-bit grey pixels as JPEG Lossless with the first predictor (ITU-T T.81, annex H).

    One Huffman table gives each of the 17 categories of a difference a code of 5 bits.
    """
    rows, columns = frame.shape
    values = frame.astype(np.int64)
    predicted = np.empty_like(values)
    predicted[:, 1:] = values[:, :-1]
    predicted[1:, 0], predicted[0, 0] = values[:-1, 0], 1 << 15
    bits = []
    for difference in ((values - predicted + 32_767) % 65_536 - 32_767).ravel().tolist():  # -32767 to 32768
        category = abs(difference).bit_length()
        bits.append(f"{category:05b}")
        if 0 < category < 16:
            bits.append(f"{difference if difference > 0 else difference + (1 << category) - 1:0{category}b}")
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    scan = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")
    start = b"\xff\xd8\xff\xc3" + struct.pack(">HBHHBBBB", 11, 16, rows, columns, 1, 1, 0x11, 0)
    table = b"\xff\xc4" + struct.pack(">HB", 36, 0) + bytes([0] * 4 + [17] + [0] * 11) + bytes(range(17))
    return start + table + b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 1, 0, 0) + scan + b"\xff\xd9"


def jpeg_2000(frame: np.ndarray) -> bytes:
    """Returns 16-bit grey pixels as a reversible JPEG 2000 codestream."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG2000", irreversible=False, no_jp2=True)
    return buffer.getvalue()


_STREAMS = {uid.JPEGLosslessSV1: jpeg_lossless, uid.JPEG2000Lossless: jpeg_2000}


def compress(ds: Dataset, frames: np.ndarray, syntax: str) -> None:
    """Puts the frames into a data set in a transfer syntax, whatever its kind."""
    if syntax in _STREAMS:
        ds.PixelData = encapsulate([_STREAMS[uid.UID(syntax)](frame) for frame in frames])
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    elif uid.UID(syntax).is_encapsulated:
        ds.compress(uid.UID(syntax), frames, generate_instance_uid=False)
    elif syntax == uid.ExplicitVRBigEndian:
        ds.PixelData = frames.astype(">u2").tobytes()


SCT = [("399001007", "SCT", "Posterior projection"), ("399321004", "SCT", "Anterior projection")]
SRT = [("G-5215", "SRT", "Anterior"), ("G-5216", "SRT", "Posterior")]


def ge_xeleris(path: Path, seed: int, *, patient: str, study: str = "1", **more: Any) -> Path:
    """One file: scatter and photopeak of both heads, the posterior head first, four frames."""
    front, back = body(seed), body(seed, side="posterior")
    ds = header(np.stack([back, front, back // 3, front // 3]), patient=patient, study=study, **more)
    ds.Manufacturer, ds.ManufacturerModelName = "GE MEDICAL SYSTEMS", "INFINIA"
    ds.DeviceSerialNumber = "18045"
    add_windows(ds, (126.0, 154.0), (114.0, 126.0 - 0.5), vector=[1, 1, 2, 2])
    add_detectors(ds, SCT, [1, 2, 1, 2])
    return save(path, ds)


def ge_millennium(path: Path, seed: int, detector: int, *, patient: str, study: str = "1", **more: Any) -> Path:
    """One view a file, no view code, no detectors: the head is told by a private attribute only."""
    counts = body(seed, side={1: "anterior", 2: "posterior"}.get(detector, "anterior"))
    ds = header(counts[None], patient=patient, study=study, **more)
    ds.SOPClassUID = uid.SecondaryCaptureImageStorage
    ds.ImageType = ["DERIVED", "PRIMARY", "WHOLE BODY", "EMISSION"]
    ds.Manufacturer, ds.ManufacturerModelName = "GE Medical Systems", "MILLENNIUM MG"
    add_windows(ds, (126.5, 154.6), vector=[1])
    ds.NumberOfDetectors = 1
    ds.private_block(0x0009, "GEMS_GENIE_1", create=True).add_new(0x40, "LO", "NAME,PRIVATE")
    if detector:
        ds.private_block(0x0011, "GEMS_GENIE_1", create=True).add_new(0x15, "SL", detector)
    return save(path, ds)


def siemens_ecam(path: Path, seed: int, *, patient: str, study: str = "1", mirrored: bool = False, **more: Any) -> Path:
    """One file of two frames with the older codes, little endian without types."""
    back = body(seed, side="posterior")
    frames = np.stack([body(seed), back[:, ::-1] if mirrored else back])
    ds = header(frames, patient=patient, study=study, **more)
    ds.Manufacturer, ds.ManufacturerModelName, ds.StationName = "SIEMENS NM", "e.cam", "ecam2"
    add_windows(ds, (129.0, 151.0), vector=[1, 1])
    add_detectors(ds, SRT, [1, 2])
    ds.private_block(0x0019, "SIEMENS MED NM", create=True).add_new(0x60, "SL", 1)
    return save(path, ds, syntax=uid.ImplicitVRLittleEndian)


def philips(
    path: Path, seed: int, view: str, *, patient: str, study: str = "1", text: bool = True, **more: Any
) -> Path:
    """One view a file, told by the text of the image only; a series for each."""
    ds = header(body(seed, side=view)[None], patient=patient, study=study, **more)
    ds.Manufacturer, ds.ManufacturerModelName = "ADAC", "Forte"
    ds.SeriesInstanceUID = uid.generate_uid(entropy_srcs=[patient, study, view])
    ds.ImageID = {"anterior": "WB ANT", "posterior": "WB POST"}[view] if text else "WB"
    add_windows(ds, (126.0, 154.0), vector=[1])
    ds.private_block(0x0019, "ADAC_IMG", create=True).add_new(0x21, "LO", "Pegasys")
    return save(path, ds)
