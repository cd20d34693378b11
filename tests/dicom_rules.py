"""A conformance check of two IODs, written from DICOM PS3.3 for the tests: SC Image (A.8.1), Comprehensive SR (A.35.3).

Types 1 (there, with a value) and 2 (there) of every mandatory module are listed here by hand; `test_pacs` compares the
lists with the tables of the standard that highdicom carries. The conditions of types 1C and 2C that can occur are rules
below.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.config import RAISE
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID
from pydicom.valuerep import validate_value

_PATIENT_AND_STUDY = {
    "1": "StudyInstanceUID",
    "2": """PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime ReferringPhysicianName StudyID
        AccessionNumber""",
}
_SC = {
    "1": """Modality SeriesInstanceUID ConversionType SamplesPerPixel PhotometricInterpretation Rows Columns
        BitsAllocated BitsStored HighBit PixelRepresentation SOPClassUID SOPInstanceUID""",
    "2": "SeriesNumber InstanceNumber",
}
_SR = {
    "1": """Modality SeriesInstanceUID SeriesNumber InstanceNumber CompletionFlag VerificationFlag ContentDate
        ContentTime ValueType ConceptNameCodeSequence ContinuityOfContent SOPClassUID SOPInstanceUID""",
    "2": "Manufacturer ReferencedPerformedProcedureStepSequence PerformedProcedureCodeSequence",
}
SC_CLASS, SR_CLASS = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.88.33"
REQUIRED = {
    sop_class: {kind: set(f"{_PATIENT_AND_STUDY[kind]} {own[kind]}".split()) for kind in ("1", "2")}
    for sop_class, own in ((SC_CLASS, _SC), (SR_CLASS, _SR))
}

_WORDS = {
    "Modality": {SC_CLASS: {"OT"}, SR_CLASS: {"SR"}},
    "CompletionFlag": {"PARTIAL", "COMPLETE"}, "VerificationFlag": {"UNVERIFIED", "VERIFIED"},
    "PreliminaryFlag": {"PRELIMINARY", "FINAL"}, "ConversionType": {"DV", "DI", "DF", "WSD", "SD", "SI", "DRW", "SYN"},
    "PatientSex": {"", "M", "F", "O"}, "PixelRepresentation": {0, 1}, "BurnedInAnnotation": {"YES", "NO"},
    "LossyImageCompression": {"00", "01"}, "PhotometricInterpretation": {"MONOCHROME1", "MONOCHROME2", "RGB"},
    "BodyPartExamined": {"WHOLEBODY"},
}  # fmt: skip
_VALUE_OF = {
    "CODE": "ConceptCodeSequence", "TEXT": "TextValue", "UIDREF": "UID", "NUM": "MeasuredValueSequence",
    "IMAGE": "ReferencedSOPSequence", "CONTAINER": "ContinuityOfContent",
}  # fmt: skip
_CONTENT = {"TEXT", "CODE", "NUM", "UIDREF", "IMAGE", "CONTAINER"}
_RELATIONS = {
    ("CONTAINER", "CONTAINS"): _CONTENT, ("CONTAINER", "HAS OBS CONTEXT"): _CONTENT - {"IMAGE"},
    ("CONTAINER", "HAS ACQ CONTEXT"): _CONTENT - {"IMAGE"}, ("CONTAINER", "HAS CONCEPT MOD"): {"TEXT", "CODE"},
    ("IMAGE", "HAS ACQ CONTEXT"): {"TEXT", "CODE", "NUM", "UIDREF", "CONTAINER"},
}  # fmt: skip
"""Table A.35.3-2: what a content item may lead to, as far as TID 1500 as written here needs it."""


def faults(ds: Dataset) -> list[str]:
    """Returns every way in which a data set that was read is not an instance of its IOD."""
    required = REQUIRED[ds.SOPClassUID]
    found = [f"{name} (type 1) is empty" for name in required["1"] if ds.get(name) in (None, "", [])]
    found += [f"{name} (type 2) is absent" for name in required["2"] if name not in ds]
    found += _meta_faults(ds)
    found += [fault for item in _all_items(ds) for fault in _value_faults(item, ds.SOPClassUID)]
    return found + list(_image_faults(ds) if ds.SOPClassUID == SC_CLASS else _report_faults(ds))


def _meta_faults(ds: Dataset) -> list[str]:
    meta, found = ds.file_meta, []
    if (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) != (ds.SOPClassUID, ds.SOPInstanceUID):
        found.append("the file meta names another object")
    if not meta.get("ImplementationClassUID") or meta.TransferSyntaxUID != "1.2.840.10008.1.2.1":
        found.append("no implementation class, or not Explicit VR Little Endian")
    return found


def _all_items(ds: Dataset) -> Iterator[Dataset]:
    yield ds
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                yield from _all_items(item)


def _value_faults(ds: Dataset, sop_class: str) -> Iterator[str]:
    """Yields what is wrong with the VR, VM, words, codes and references of one data set or item."""
    for element in ds:
        name, values = element.keyword, element.value
        if element.tag.is_private or not name:
            yield f"{element.tag} is private or unknown"
            continue
        values = list(values) if isinstance(values, MultiValue) else [values]
        if element.VR not in dictionary_VR(element.tag).split(" or "):
            yield f"{name} has VR {element.VR}"
        if dictionary_VM(element.tag) == "1" and len(values) > 1:
            yield f"{name} has {len(values)} values"
        yield from _word_faults(name, element.VR, values, sop_class)
        if name.endswith("CodeSequence"):
            for item in values[0]:
                if not (item.get("CodeValue") and item.get("CodingSchemeDesignator") and item.get("CodeMeaning")):
                    yield f"{name}: an incomplete code"
    if any(name in ds for name in ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")):
        pair = UID(ds.get("ReferencedSOPClassUID", "")), UID(ds.get("ReferencedSOPInstanceUID", ""))
        if not all(uid.is_valid for uid in pair):
            yield "an incomplete reference"
    if not ds.get("SpecificCharacterSet") and not all(str(element.value).isascii() for element in ds):
        yield "text beyond ASCII without a Specific Character Set" * (ds.get("SOPClassUID") is not None)


def _word_faults(name: str, vr: str, values: list, sop_class: str) -> Iterator[str]:
    allowed = _WORDS.get(name)
    allowed = allowed.get(sop_class) if isinstance(allowed, dict) else allowed
    for value in values:
        if allowed is not None and value not in allowed:
            yield f"{name} is {value!r}"
        if vr not in ("SQ", "OB", "OW", "PN", "US", "FD") and value not in (None, ""):
            try:
                validate_value(vr, str(value), RAISE)
            except ValueError as error:
                yield f"{name}: {error}"


def _image_faults(ds: Dataset) -> Iterator[str]:
    """Yields faults against the conditions of Image Pixel (C.7.6.3) and General Image (C.7.6.1)."""
    if ds.SamplesPerPixel == 3 and (ds.get("PlanarConfiguration") != 0 or ds.PhotometricInterpretation != "RGB"):
        yield "colour pixels without a planar configuration"
    size = ds.Rows * ds.Columns * ds.SamplesPerPixel * ds.BitsAllocated // 8
    if len(ds.get("PixelData", b"")) != size + size % 2:
        yield "pixel data of another length"
    if ds.get("HighBit") != ds.BitsStored - 1 or ds.BitsStored > ds.BitsAllocated:
        yield "bits do not agree"
    if not ds.get("PatientOrientation"):
        yield "PatientOrientation (type 2C) is absent"
    if "Laterality" not in ds and not ds.get("BodyPartExamined"):
        yield "Laterality (type 2C) is absent, and nothing says that the body part is not one of a pair"


def _report_faults(ds: Dataset) -> Iterator[str]:
    """Yields faults of the document's tree, its evidence and its template (C.17.2, C.17.3, A.35.3.3)."""
    if ds.ValueType != "CONTAINER" or ds.get("RelationshipType"):
        yield "the root is no container, or has a relationship"
    templates = [item.get("TemplateIdentifier") for item in ds.get("ContentTemplateSequence", [])]
    if templates != ["1500"]:
        yield f"templates {templates}"
    referenced = {
        item.ReferencedSOPInstanceUID for found in _tree(ds) for item in found.get("ReferencedSOPSequence", [])
    }
    listed = {
        instance.ReferencedSOPInstanceUID
        for study in ds.get("CurrentRequestedProcedureEvidenceSequence", [])
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    if referenced != listed:
        yield "the evidence is not what the tree references"
    for parent in _tree(ds):
        yield from _item_faults(parent)
    schemes = {item.CodingSchemeDesignator for item in ds.get("CodingSchemeIdentificationSequence", [])}
    for item in _all_items(ds):
        used = str(item.get("CodingSchemeDesignator", ""))
        if used.startswith("99") and used not in schemes:
            yield f"the private coding scheme {used} is not identified"


def _tree(ds: Dataset) -> Iterator[Dataset]:
    yield ds
    for item in ds.get("ContentSequence", []):
        yield from _tree(item)


def _item_faults(parent: Dataset) -> Iterator[str]:
    kind = str(parent.get("ValueType", ""))
    if kind not in _VALUE_OF or not parent.get(_VALUE_OF[kind]):
        yield f"a {kind or 'nameless'} item without its value"
    if kind != "IMAGE" and len(parent.get("ConceptNameCodeSequence", [])) != 1:
        yield f"a {kind} item without a concept name"
    for value in parent.get("MeasuredValueSequence", []):
        if value.get("NumericValue") is None or len(value.get("MeasurementUnitsCodeSequence", [])) != 1:
            yield "a number without value or unit"
    for child in parent.get("ContentSequence", []):
        if child.get("ValueType") not in _RELATIONS.get((kind, str(child.get("RelationshipType"))), set()):
            yield f"{kind} {child.get('RelationshipType')} {child.get('ValueType')}"
