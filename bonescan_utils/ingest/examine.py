"""Examine: one DICOM file -> what is known of it, and its views as image files under pseudonyms."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bonescan_utils.bounds import bounded
from bonescan_utils.dicom import read_with_header, refusing
from bonescan_utils.files import write_bytes
from bonescan_utils.ingest.header import TAGS, facts
from bonescan_utils.ingest.keys import Pseudonyms
from bonescan_utils.ingest.mirror import outline
from bonescan_utils.scan import BLOCKING, ScanError, View, check_quality

IMAGES = "images"
"""Folder of the views, beside the manifest."""

_RUN_LENGTHS = 3  # Pillow's compress_type of a PNG; 5 % smaller and a little quicker than its first level


def examine(path: str, *, root: Path, out: Path, key: bytes) -> dict[str, Any]:
    """Reads one file and writes its views.

    Args:
        path: Relative to `root`.
        root: The folder that is ingested.
        out: The folder of the manifest.
        key: Of the pseudonyms.

    Returns:
        `file`: its pseudonym; then `facts` of its header, `views`, `notes`; or `code, reason, next_step` of a file
        that cannot be used. No text of the header, and no part of the path.
    """
    names = Pseudonyms(key)
    file = names.token("file", path)
    try:
        with bounded(), refusing(root / path):
            reading, ds = read_with_header(root / path, TAGS)
            told = facts(ds, names)
            notes = [*reading.warnings, *(text for view in reading.views.values() for text in _doubts(view))]
    except ScanError as error:
        return {"file": file, **refusal(error)}
    views = [write_view(view, out, file) for view in reading.views.values()]  # a full disk is no fault of the file
    return {"file": file, **told, "views": views, "notes": notes}


def refusal(error: ScanError) -> dict[str, str]:
    """Returns why a file is set aside, without its name."""
    hint = error.hint or "Leave it out, or export it again."
    return {"code": error.code, "reason": f"{error.reason}.", "next_step": hint}


def _doubts(view: View) -> list[str]:
    """Returns what is doubtful in a view; refuses one that is unusable."""
    findings = check_quality(view)
    for code, text in findings:
        if code in BLOCKING:
            raise ScanError(code, text, hint="Export the original image again, or leave the scan out.")
    return [text for _, text in findings]


def write_view(view: View, out: Path, file: str) -> dict[str, Any]:
    """Writes a view as PNG with 16 bits, or as NPY where a pixel holds more; returns what is known of it."""
    suffix = "png" if view.counts.dtype == np.uint16 else "npy"
    name = f"{IMAGES}/{file[:2]}/{file}_{view.name}.{suffix}"
    data = _encoded(view.counts, suffix)
    write_bytes(out / name, data)
    return {
        "view": view.name,
        "source": view.view_source,
        "counts": view.total,
        "shape": list(view.counts.shape),
        "mm": list(view.pixel_mm) if view.pixel_mm else [],
        "image": name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "pixels": hashlib.sha256(np.ascontiguousarray(view.counts).tobytes()).hexdigest()[:32],
        "outline": outline(view.counts),
    }


def _encoded(counts: np.ndarray, suffix: str) -> bytes:
    buffer = io.BytesIO()
    if suffix == "png":
        Image.fromarray(counts).save(buffer, "PNG", compress_level=1, compress_type=_RUN_LENGTHS)
    else:
        np.save(buffer, counts, allow_pickle=False)
    return buffer.getvalue()
