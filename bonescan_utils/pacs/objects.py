"""Objects: the DICOM files of a scored scan: a Secondary Capture per view and one Structured Report."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from bonescan_utils.files import write_bytes
from bonescan_utils.finding import Finding
from bonescan_utils.pacs.secondary_capture import secondary_capture
from bonescan_utils.pacs.sheet import draw_sheet
from bonescan_utils.pacs.source import read_source
from bonescan_utils.pacs.structured_report import structured_report
from bonescan_utils.pictures import darkest_value

if TYPE_CHECKING:  # it brings TensorFlow along
    from bonescan_utils.explanation import Explained


def write_objects(item: Explained, finding: Finding, *, source: Path, out: Path, key: str, created: str) -> list[Path]:
    """Write the DICOM files of a scan.

    Args:
        item: The scored scan, whose scan_id begins the names of the files.
        finding: What the model says of it.
        source: The file it was read from; it is only read.
        out: The folder to write to.
        key: What the UIDs follow from, beside the source: equal keys give equal UIDs.
        created: When, ISO 8601.

    Returns:
        The files: a picture of each view, then the report.

    Raises:
        SourceError: The source cannot be referenced; nothing is written.
    """
    origin, maps = read_source(source), item.by_view()
    shown = [view for view in item.scan.views if view.name in maps]
    darkest = darkest_value({view.name: view.counts for view in shown})
    lines = [
        finding.score_line(), finding.probability_line(), finding.operating_line(), finding.model_line(),
        "Saliency is scaled to its own maximum; it does not outline lesions", *finding.doubt_lines(),
    ]  # fmt: skip
    derivation = f"Scan beside its Grad-CAM saliency map. {finding.model_line()}"
    files: dict[str, Dataset] = {}
    for number, view in enumerate(shown, start=1):
        sheet = draw_sheet(view, maps[view.name], lines, darkest=darkest)
        files[f"sc_{view.name}"] = secondary_capture(
            sheet, view, origin, key=key, number=number, derivation=derivation, created=created
        )
    pictures = list(files.values())
    files["sr"] = structured_report(finding, origin, pictures, key=key, scan_id=item.scan.scan_id, created=created)
    return [_written(ds, out / f"{item.scan.scan_id}_{name}.dcm") for name, ds in files.items()]


def _written(ds: Dataset, path: Path) -> Path:
    """Write an object as a DICOM file, whole or not at all; return its path."""
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    write_bytes(path, buffer.getvalue())
    return path
