"""Header: what is taken of a DICOM header, attribute by attribute, and in which form it leaves.

An attribute that is not in `TAGS` is not read from the file. Each that is read becomes a number in a stated range, a
word of `vocabulary`, or a keyed hash; no text of a header leaves as it stands.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bonescan_utils.ingest import vocabulary
from bonescan_utils.ingest.keys import Pseudonyms
from bonescan_utils.scan import ScanError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

TAGS: tuple[str | int, ...] = (
    *"""
    PatientID IssuerOfPatientID PatientName PatientBirthDate PatientSex PatientAge PatientIdentityRemoved
    AccessionNumber StudyInstanceUID SeriesInstanceUID SOPInstanceUID InstanceNumber
    StudyDate SeriesDate AcquisitionDate ContentDate StudyTime SeriesTime AcquisitionTime ContentTime
    AcquisitionDateTime InstitutionName Manufacturer ManufacturerModelName DeviceSerialNumber StationName
    RadiopharmaceuticalInformationSequence ScanVelocity ActualFrameDuration
    """.split(),
    0x00110010,  # private creator
    0x00111015,  # GEMS_GENIE_1: number of the detector
)

AGE_CAP = 90
"""Ages above are written as this one: the very old are few, and known by their age."""
MAX_UPTAKE_MIN = 24 * 60
_PSEUDONYM_NAME = re.compile(r"anon|deid|pseudo|subject|patient|phantom|removed|unknown|^[\W\d_]*$", re.IGNORECASE)


def facts(ds: Dataset, names: Pseudonyms) -> dict[str, Any]:
    """Returns what leaves a header.

    Args:
        ds: A data set that holds `TAGS`.
        names: Makes the pseudonyms.

    Returns:
        `patient, study, series, instance, person, accession, site`: pseudonyms ('' without a source);
        `scanner`: vendor, family and 4 digits of a hash of its serial number; `sex`, `age` in years,
        `tracer, collimator`, `dose_mbq`, `uptake_min`, `velocity_mm_s`; `detector` 0 to 2; `derived`;
        `burned_in` no or unknown; `when`: time of acquisition, ISO 8601, for sorting only: it stays with the key.

    Raises:
        ScanError: There is no patient id (`no_patient`) or no study (`no_study`), or the file says that its identity
            was removed and holds a name (`identity`).
    """
    patient = _text(ds, "PatientID")
    if not patient:
        raise ScanError("no_patient", "no Patient ID: scans of one patient could not be told", hint="Export it again.")
    if not _text(ds, "StudyInstanceUID"):
        raise ScanError("no_study", "no Study Instance UID", hint="Export it again.")
    _check_identity(ds, patient)
    when = _when(ds)
    return {
        "patient": names.token("patient", patient.casefold(), _text(ds, "IssuerOfPatientID")),
        "study": names.token("study", _text(ds, "StudyInstanceUID")),
        "series": names.token("series", _text(ds, "SeriesInstanceUID")),
        "instance": names.token("instance", _text(ds, "SOPInstanceUID")),
        "person": _person(ds, names),
        "accession": _hashed(names, "accession", _text(ds, "AccessionNumber")),
        "patient_number": names.token("number", patient.casefold()),
        "site": _hashed(names, "site", _text(ds, "InstitutionName").casefold(), digits=6),
        "scanner": _scanner(ds, names),
        "sex": sex if (sex := _text(ds, "PatientSex").upper()) in ("F", "M", "O") else "",
        "age": _age(ds, when),
        "detector": _detector(ds),
        "derived": "DERIVED" in [str(value).strip().upper() for value in ds.get("ImageType") or []],
        "burned_in": "no" if _text(ds, "BurnedInAnnotation").upper() == "NO" else "unknown",
        "collimator": _collimator(ds),
        "velocity_mm_s": _number(ds.get("ScanVelocity"), 0.1, 20.0),
        "when": when.isoformat() if when else "",
        **_dose(ds, when),
    }


def _text(ds: Dataset, keyword: str) -> str:
    return str(ds.get(keyword) or "").strip()


def _hashed(names: Pseudonyms, kind: str, text: str, *, digits: int = 16) -> str:
    return names.token(kind, text, digits=digits) if text else ""


def _check_identity(ds: Dataset, patient: str) -> None:
    """Refuses a file that says that its identity was removed and still holds a name."""
    name = _text(ds, "PatientName")
    removed = _text(ds, "PatientIdentityRemoved").upper() == "YES"
    if removed and name and name != patient and not _PSEUDONYM_NAME.search(name):
        raise ScanError(
            "identity", "Patient Identity Removed is YES, and Patient's Name holds a name",
            hint="Find out how the files were de-identified.",
        )  # fmt: skip


def _person(ds: Dataset, names: Pseudonyms) -> str:
    """A hash of name, birth date and sex: the same under two ids hints at one patient."""
    letters = "".join(c for c in _text(ds, "PatientName").casefold() if c.isalpha())
    born = _text(ds, "PatientBirthDate")
    return names.token("person", letters, born, _text(ds, "PatientSex")) if letters and born else ""


def _scanner(ds: Dataset, names: Pseudonyms) -> str:
    """Vendor and family, and what tells two cameras of one family apart."""
    maker, name = _text(ds, "Manufacturer"), _text(ds, "ManufacturerModelName")
    known = [vocabulary.vendor(maker), vocabulary.model(name)]
    serial = _text(ds, "DeviceSerialNumber") or _text(ds, "StationName")
    told = [word for word in known if word] + ([names.token("scanner", name, serial, digits=4)] if serial else [])
    return " ".join(told)


def _when(ds: Dataset) -> datetime | None:
    """Returns the time of acquisition, or of what comes next to it."""
    whole = _moment(_text(ds, "AcquisitionDateTime")[:8], _text(ds, "AcquisitionDateTime")[8:])
    pairs = ((_text(ds, f"{what}Date"), _text(ds, f"{what}Time")) for what in ("Acquisition", "Series", "Content"))
    study = _moment(_text(ds, "StudyDate"), _text(ds, "StudyTime"))
    return whole or next((moment for pair in pairs if (moment := _moment(*pair))), None) or study


def _moment(date: str, time: str) -> datetime | None:
    digits = re.match(r"\d{0,6}", time.replace(":", ""))
    clock = (digits.group() if digits else "").ljust(6, "0")
    try:
        return datetime.strptime(date.replace(".", "")[:8] + clock, "%Y%m%d%H%M%S")
    except ValueError:
        return None


def _age(ds: Dataset, when: datetime | None) -> float | None:
    """Returns the age in whole years at the scan, 90 for all above; None if unknown or out of 0 to 120."""
    stated, born = re.fullmatch(r"(\d{1,3})([DWMY])", _text(ds, "PatientAge").upper()), _text(ds, "PatientBirthDate")
    birth = _moment(born, "")
    if birth and when:
        years = when.year - birth.year - ((when.month, when.day) < (birth.month, birth.day))
    elif stated:
        years = int(int(stated[1]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[stated[2]])
    else:
        return None
    return float(min(years, AGE_CAP)) if 0 <= years <= 120 else None


def _detector(ds: Dataset) -> int:
    """Returns the number that a GE Millennium gives its head: 1 above, 2 below the patient; else 0."""
    try:
        number = int(ds.private_block(0x0011, "GEMS_GENIE_1")[0x15].value)
    except (KeyError, TypeError, ValueError):
        return 0
    return number if number in (1, 2) else 0


def _collimator(ds: Dataset) -> str:
    items = ds.get("DetectorInformationSequence") or []
    return vocabulary.collimator(_text(items[0], "CollimatorGridName")) if len(items) else ""


def _number(value: Any, low: float, high: float) -> float | None:
    """Returns a number in its range, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if low <= number <= high else None


def _dose(ds: Dataset, when: datetime | None) -> dict[str, Any]:
    """Returns tracer, activity in MBq, and minutes from injection to acquisition; None where not told.

    An NM header gives MBq (PS3.3 C.8.4.10); values that can only be Bq, as PET headers have them, are converted.
    """
    items = ds.get("RadiopharmaceuticalInformationSequence") or []
    item = items[0] if len(items) else None
    if item is None:
        return {"tracer": "", "dose_mbq": None, "uptake_min": None}
    codes = item.get("RadiopharmaceuticalCodeSequence") or []
    code = _text(codes[0], "CodeValue") if len(codes) else ""
    meaning = _text(codes[0], "CodeMeaning") if len(codes) else ""
    activity = _number(item.get("RadionuclideTotalDose"), 1.0, 1e10)
    in_mbq = activity / 1e6 if activity and activity > 1e6 else activity
    return {
        "tracer": vocabulary.tracer(f"{_text(item, 'Radiopharmaceutical')} {meaning}", code),
        "dose_mbq": _number(in_mbq, 1.0, 5000.0),
        "uptake_min": _uptake(item, when),
    }


def _uptake(item: Dataset, when: datetime | None) -> float | None:
    """Returns the minutes from injection to acquisition; None if unknown or impossible."""
    stamp, clock = _text(item, "RadiopharmaceuticalStartDateTime"), _text(item, "RadiopharmaceuticalStartTime")
    if when is None or not (stamp or clock):
        return None
    start = _moment(stamp[:8], stamp[8:]) if stamp else _moment(when.strftime("%Y%m%d"), clock)
    minutes = (when - start).total_seconds() / 60 if start else -1.0
    return round(minutes, 1) if 0 <= minutes <= MAX_UPTAKE_MIN else None
