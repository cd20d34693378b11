"""Structured report: a finding as a DICOM Comprehensive SR (PS3.3 A.35.3) by template TID 1500, Measurement Report.

No Finding is coded ("metastasis"): a reader of codes would take it for one, also below the threshold. The report has
the score, what it means, and what it was made from; it is unverified and preliminary. Codes that no standard has are in
the scheme 99BONESCAN, which the report explains.
"""

from __future__ import annotations

from collections.abc import Sequence

from highdicom import sr as hd
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from bonescan_utils import __version__
from bonescan_utils.finding import Finding
from bonescan_utils.pacs import PURPOSE_NOTICE, RESEARCH_NOTICE
from bonescan_utils.pacs.identity import MANUFACTURER, MODEL_NAME, SR_SERIES, make_uid, set_times
from bonescan_utils.pacs.source import Source

SCHEME = "99BONESCAN"
SCORE = Code("SCORE", SCHEME, "Score for bone metastasis")
PROBABILITY = Code("PROBABILITY", SCHEME, "Calibrated probability of bone metastasis")
THRESHOLD = Code("THRESHOLD", SCHEME, "Threshold of the score")
COMPARISON = Code("COMPARISON", SCHEME, "Score against its threshold")
BELOW, ABOVE = Code("BELOW", SCHEME, "Below the threshold"), Code("ABOVE", SCHEME, "At or above the threshold")


def structured_report(
    finding: Finding, source: Source, pictures: Sequence[Dataset], *, key: str, scan_id: str, created: str
) -> hd.ComprehensiveSR:
    """Make the SR of a scan.

    Args:
        finding: What the model says.
        source: The scan's file; patient and study are copied, the file is referenced as what was measured.
        pictures: The Secondary Captures of the scan, referenced as evidence.
        key: What the UIDs follow from, beside the source.
        scan_id: The scan's pseudonym.
        created: When, ISO 8601.
    """
    uid = source.dataset.SOPInstanceUID
    content = hd.MeasurementReport(
        observation_context=_observer(finding), procedure_reported=codes.cid100.NMUnspecifiedBodyRegion,
        imaging_measurements=[_group(finding, source, tracking=make_uid(uid, key, "score"), scan_id=scan_id)],
        referenced_images=[source.dataset, *pictures],
    )  # fmt: skip
    report = hd.ComprehensiveSR(
        evidence=[source.dataset, *pictures], content=content,
        series_instance_uid=make_uid(uid, key, "sr"), series_number=SR_SERIES,
        sop_instance_uid=make_uid(uid, key, "sr", "report"), instance_number=1,
        manufacturer=MANUFACTURER, manufacturer_model_name=MODEL_NAME, software_versions=__version__,
        device_serial_number=finding.model_sha256[:16], is_complete=True,
        series_description=f"{RESEARCH_NOTICE} - bonescan report", coding_schemes=[_scheme()],
    )  # fmt: skip
    set_times(report, created)
    return report


def _observer(finding: Finding) -> hd.ObservationContext:
    """Return who observed: the model, a device whose UID follows from its file."""
    device = hd.DeviceObserverIdentifyingAttributes(
        uid=make_uid("model", finding.model_sha256), name=f"bonescan arm {finding.model.arm}",
        manufacturer_name=MANUFACTURER, model_name=MODEL_NAME, serial_number=finding.model_sha256,
    )  # fmt: skip
    context = hd.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    return hd.ObservationContext(observer_device_context=context)


def _group(
    finding: Finding, source: Source, *, tracking: str, scan_id: str
) -> hd.MeasurementsAndQualitativeEvaluations:
    """Return the measurements of the scan with what they were made by and from."""
    values = [(SCORE, finding.y_score), (PROBABILITY, finding.probability), (THRESHOLD, finding.model.threshold)]
    unit = codes.UCUM.NoUnits
    reference = hd.SourceImageForMeasurementGroup(
        source.dataset.SOPClassUID, source.dataset.SOPInstanceUID, source.frame_numbers(finding.views)
    )
    group = hd.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.TrackingIdentifier(uid=tracking, identifier=scan_id),
        algorithm_id=hd.AlgorithmIdentification(
            name=f"bonescan {finding.model.arm}", version=__version__, manufacturer=MANUFACTURER,
            parameters=[f"model sha256 {finding.model_sha256}", finding.operating_line()],
        ),
        measurements=[hd.Measurement(name, round(value, 6), unit) for name, value in values if value is not None],
        qualitative_evaluations=[hd.QualitativeEvaluation(COMPARISON, ABOVE if finding.y_pred else BELOW)],
        source_images=[reference],
    )  # fmt: skip
    said = [finding.score_line(), finding.probability_line(), *finding.doubt_lines()]
    for text in (f"{RESEARCH_NOTICE}. {PURPOSE_NOTICE}", *said):
        group[0].ContentSequence.append(hd.TextContentItem(codes.DCM.Comment, text, hd.RelationshipTypeValues.CONTAINS))
    return group


def _scheme() -> CodingSchemeIdentificationItem:
    return CodingSchemeIdentificationItem(
        designator=SCHEME, name="Codes of the bonescan research package", version="1",
        responsible_organization=MANUFACTURER,
    )  # fmt: skip
