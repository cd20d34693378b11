"""Objects: the DICOM files of a scored scan: a Secondary Capture per view and one Structured Report."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from bonescan_utils.files import write_bytes
from bonescan_utils.finding import Finding
from bonescan_utils.pacs.secondary_capture import secondary_capture
from bonescan_utils.pacs.sheet import Sheet, draw_sheet
from bonescan_utils.pacs.source import Source, SourceError, read_source
from bonescan_utils.pacs.structured_report import structured_report
from bonescan_utils.pictures import darkest
from bonescan_utils.scan import Scan

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
    sheets = _sheets(item, finding)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of pydicom and highdicom quote header values
        try:
            objects = _objects(item.scan, finding, sheets, read_source(source), key=key, created=created)
        except SourceError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError) as error:  # its text may quote the header
            fault = type(error).__name__
            raise SourceError(f"no DICOM result can be made of the source's header ({fault})") from None
        return [_written(ds, out / f"{item.scan.scan_id}_{name}.dcm") for name, ds in objects.items()]


def _sheets(item: Explained, finding: Finding) -> dict[str, Sheet]:
    """Return the picture of each view that the model saw."""
    maps = item.by_view()
    shown = {view.name: view for view in item.scan.views if view.name in maps}
    black = darkest({name: view.counts for name, view in shown.items()})
    lines = [
        finding.score_line(), finding.probability_line(), finding.operating_line(), finding.model_line(),
        "Saliency is scaled to its own maximum; it does not outline lesions", *finding.doubt_lines(),
    ]  # fmt: skip
    return {name: draw_sheet(view, maps[name], lines, darkest=black) for name, view in shown.items()}


def _objects(
    scan: Scan, finding: Finding, sheets: Mapping[str, Sheet], source: Source, *, key: str, created: str
) -> dict[str, Dataset]:
    """Return the objects of a scan by what ends their names: the pictures, then the report."""
    derivation = f"Scan beside its Grad-CAM saliency map. {finding.model_line()}"
    objects: dict[str, Dataset] = {}
    for number, view in enumerate((view for view in scan.views if view.name in sheets), start=1):
        objects[f"sc_{view.name}"] = secondary_capture(
            sheets[view.name], view, source, key=key, number=number, derivation=derivation, created=created
        )
    pictures = list(objects.values())
    objects["sr"] = structured_report(finding, source, pictures, key=key, scan_id=scan.scan_id, created=created)
    return objects


def _written(ds: Dataset, path: Path) -> Path:
    """Write an object as a DICOM file, whole or not at all; return its path."""
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    write_bytes(path, buffer.getvalue())
    return path
