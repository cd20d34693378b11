"""Secondary capture: a picture of a view as a DICOM SC Image (PS3.3 A.8.1) in the study of its source.

Written uncompressed (Explicit VR Little Endian), which every node takes.
"""

from __future__ import annotations

from typing import Any

from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from bonescan_utils import __version__
from bonescan_utils.dicom_write import VIEW_CODES
from bonescan_utils.pacs import PURPOSE_NOTICE, RESEARCH_NOTICE
from bonescan_utils.pacs.identity import MANUFACTURER, MODEL_NAME, SC_SERIES, make_uid, set_times
from bonescan_utils.pacs.sheet import Sheet
from bonescan_utils.pacs.source import Source
from bonescan_utils.scan import View

ORIENTATION = {"anterior": ("L", "F"), "posterior": ("R", "F")}
"""Side of the patient that the rows, and end that the columns, of a view's picture lead to."""


def secondary_capture(
    sheet: Sheet, view: View, source: Source, *, key: str, number: int, derivation: str, created: str
) -> SCImage:
    """Make the SC Image of a view.

    Args:
        sheet: The picture; the research notice is burned into it.
        view: The view it shows.
        source: The file that the view is from; patient and study are copied, the file and the frame are referenced.
        key: What the UIDs follow from, beside the source.
        number: Number of the instance in its series, from 1.
        derivation: How the picture was made, in a sentence.
        created: When, ISO 8601.
    """
    uid = source.dataset.SOPInstanceUID
    spacing: Any = tuple(size / sheet.factor for size in view.pixel_mm) if view.pixel_mm else None
    image = SCImage.from_ref_dataset(
        source.dataset, pixel_array=sheet.pixels, photometric_interpretation="RGB", bits_allocated=8,
        coordinate_system="PATIENT", patient_orientation=ORIENTATION[view.name], pixel_spacing=spacing,
        series_instance_uid=make_uid(uid, key, "sc"), series_number=SC_SERIES,
        sop_instance_uid=make_uid(uid, key, "sc", view.name), instance_number=number,
        manufacturer=MANUFACTURER, manufacturer_model_name=MODEL_NAME, software_versions=__version__,
        series_description=f"{RESEARCH_NOTICE} - bonescan saliency", transfer_syntax_uid=ExplicitVRLittleEndian,
    )  # fmt: skip
    for name in ("IssuerOfPatientID", "PatientAge", "StudyDescription"):
        if name in source.dataset:
            setattr(image, name, source.dataset[name].value)
    _describe(image, view.name, derivation)
    image.SourceImageSequence = [_reference(source, view.name)]
    set_times(image, created)
    return image


def _describe(image: Dataset, view: str, derivation: str) -> None:
    """Say what the picture is, for people and for viewers."""
    image.ImageComments = f"{RESEARCH_NOTICE}. {PURPOSE_NOTICE}"
    image.DerivationDescription = derivation
    image.BurnedInAnnotation = "NO"  # by the standard: no text that identifies the patient; the notice does not
    image.LossyImageCompression, image.BodyPartExamined = "00", "WHOLEBODY"  # not one of a pair: no Laterality
    image.ViewCodeSequence = [_code(*VIEW_CODES[view])]


def _reference(source: Source, view: str) -> Dataset:
    """Return the reference to the frame that the picture was made from."""
    item = Dataset()
    item.ReferencedSOPClassUID = source.dataset.SOPClassUID
    item.ReferencedSOPInstanceUID = source.dataset.SOPInstanceUID
    numbers = source.frame_numbers((view,))
    if numbers:
        item.ReferencedFrameNumber = numbers
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    item.PurposeOfReferenceCodeSequence = [_code(purpose.value, purpose.scheme_designator, purpose.meaning)]
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    """Return an item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
