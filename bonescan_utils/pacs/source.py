"""Source: whom and what a DICOM file is of, so that a result is filed beside it.

Only the attributes that a result carries are read: patient, study, equipment, and which frame is which view. Private
and free-text attributes stay behind. Values are of a patient: nothing here prints, logs or quotes them
(`objects` silences the warnings of pydicom and highdicom, which do).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from bonescan_utils.dicom_frames import pick_frames

TYPE_2 = """
    PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber
    ReferringPhysicianName
""".split()
"""Of these a result has an empty one where the source has none."""
OPTIONAL = "IssuerOfPatientID PatientAge StudyDescription Manufacturer ManufacturerModelName".split()
UIDS = "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID".split()
FRAMES = """
    Rows Columns NumberOfFrames EnergyWindowVector NumberOfEnergyWindows EnergyWindowInformationSequence DetectorVector
    NumberOfDetectors DetectorInformationSequence SeriesDescription ImageID ViewPosition
""".split()

CLASSES = frozenset(
    {
        uid.NuclearMedicineImageStorage,
        uid.SecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    }
)
"""SOP classes that a bone scan comes in; real cameras' files are found under Secondary Capture too."""

_DATE, _TIME, _AGE = (
    re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"),
    re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?"),
    re.compile(r"\d{3}[DWMY]"),
)
_FORMS = {"PatientBirthDate": _DATE, "StudyDate": _DATE, "StudyTime": _TIME, "PatientAge": _AGE}
_SEXES = ("M", "F", "O")


class SourceError(ValueError):
    """A source that no DICOM result can reference; one readable line without any of its values but its class."""


@dataclass(frozen=True)
class Source:
    """What a result needs of its source.

    Attributes:
        dataset: Patient, study, equipment, matrix and the source's own UIDs; text that is not ASCII in UTF-8.
        frames: View -> number of its frame, from 1.
        n_frames: Frames in the file.
    """

    dataset: Dataset
    frames: Mapping[str, int]
    n_frames: int

    def frame_numbers(self, views: tuple[str, ...]) -> list[int] | None:
        """Return the frames of some views, or None where the file has one frame: it is then referenced whole."""
        return [self.frames[view] for view in views] if self.n_frames > 1 else None


def read_source(path: Path) -> Source:
    """Read what a result carries of its source. The file has passed `dicom.read_dicom` before.

    A value that is not of the form that the standard asks for (a date such as 2004.08.26) is left empty.

    Args:
        path: A DICOM file.

    Raises:
        SourceError: It is of a SOP class that no bone scan comes in, or lacks a valid UID.
    """
    tags: list[Any] = [*TYPE_2, *OPTIONAL, *UIDS, *FRAMES, "SpecificCharacterSet"]
    found = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
    n_frames = int(found.get("NumberOfFrames") or 1)
    frames = {frame.view: frame.index + 1 for frame in pick_frames(found, n_frames)[0]}
    return Source(_carried(found), frames, n_frames)


def _carried(found: Dataset) -> Dataset:
    """Return the attributes that a result carries, as text."""
    kept = Dataset()
    for name in UIDS:
        number = uid.UID(_text(found.get(name)))
        if not number.is_valid:
            raise SourceError(f"the source has no valid {name}, by which a result would reference it")
        setattr(kept, name, number)
    if kept.SOPClassUID not in CLASSES:
        raise SourceError(f"the source is of SOP class {kept.SOPClassUID.name}; expected a nuclear medicine image")
    kept.Modality, kept.Rows, kept.Columns = "NM", found.Rows, found.Columns  # `read_dicom` takes no other modality
    for name in TYPE_2 + OPTIONAL:
        value = _first(found.get(name))
        form = _FORMS.get(name)
        wrong = (form is not None and not form.fullmatch(value)) or (name == "PatientSex" and value not in _SEXES)
        if name in TYPE_2 or (value and not wrong):
            setattr(kept, name, "" if wrong else value)
    if not all(str(element.value).isascii() for element in kept):
        kept.SpecificCharacterSet = "ISO_IR 192"
    return kept


def _text(value: Any) -> str:
    """Return a value as text, '' for none; several values are joined as in the file."""
    if value is None:
        return ""
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value).strip()


def _first(value: Any) -> str:
    """Return the first of the values (each attribute here has one), without what would make it two or end it."""
    first = next(iter(value), None) if isinstance(value, MultiValue) else value
    return "".join(c for c in _text(first) if c.isprintable() and c != "\\").strip()
