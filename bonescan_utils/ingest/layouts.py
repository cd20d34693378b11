"""Layouts: public data sets as they are downloaded -> manifest, images, quarantine. See docs/own_data.md.

A layout is a module that finds the scans; what becomes of them is one for all. These sets hold no identities, so
their own numbers are the ids, and quarantine names their files.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from bonescan_utils.bounds import bounded
from bonescan_utils.files import write_csv
from bonescan_utils.gate import file_kind
from bonescan_utils.images import read_counts, refusing
from bonescan_utils.ingest import layout_bs80k, layout_paraguay
from bonescan_utils.ingest.examine import IMAGES, refusal, write_view
from bonescan_utils.ingest.folder import SERIAL_BELOW
from bonescan_utils.ingest.layout import Layout, PublicScan
from bonescan_utils.ingest.mirror import posterior_mirrored
from bonescan_utils.ingest.outcome import (
    QUARANTINE_COLUMNS,
    Outcome,
    check_target,
    check_unlike,
    default_quarantine,
    file_flow,
    flow_files,
    remove_leftovers,
    write_aside,
)
from bonescan_utils.ingest.table import EXTRA
from bonescan_utils.ingest.walk import walk
from bonescan_utils.lock import run_lock
from bonescan_utils.manifest import write_manifest
from bonescan_utils.manifest_rules import COLUMNS
from bonescan_utils.problems import ManifestError, Problem
from bonescan_utils.scan import MAX_PIXELS, VIEWS, Scan, ScanError, View, check_matrix, require_quality
from bonescan_utils.workers import in_order

_FINDERS: dict[str, Callable[[Path], Layout | None]] = {"bs80k": layout_bs80k.find, "paraguay": layout_paraguay.find}
_EMPTY = {"view_evidence", "velocity_mm_s", "collimator", "burned_in", "person_hint"} | {
    "report_row", "report_label", "report_days",
}  # fmt: skip
COLOUR_NOISE = 12
"""Grey levels by which the channels of a grey JPEG may differ: its colours are stored coarser."""


def detect(root: Path) -> str:
    """Returns the public layout that a folder has, `dicom` if none."""
    return next((name for name, find in _FINDERS.items() if root.is_dir() and find(root) is not None), "dicom")


def ingest_layout(
    root: str | Path, manifest: str | Path, *, layout: str, quarantine: str | Path | None = None, n_jobs: int = -1,
    progress: bool = True,
) -> Outcome:  # fmt: skip
    """Makes a labelled manifest of a public data set.

    Args:
        root: The folder that it was unpacked to.
        manifest: The CSV to write; images go to `images/` beside it, boxes to `<manifest>_boxes.csv`.
        layout: `bs80k` or `paraguay`.
        quarantine: The CSV of what was set aside.
        n_jobs: Worker processes; -1 is one per processor.
        progress: Show a progress bar.

    Raises:
        ManifestError: The folder has another layout, or the manifest was worked on already.
        StudyError: Another ingest is writing to the folder of the manifest.
    """
    root, manifest = Path(root), Path(manifest)
    found = _FINDERS[layout](root) if root.is_dir() else None
    if found is None:
        raise ManifestError([Problem("DIR", value="another layout", expected=f"the folders of {layout}")])
    check_target(manifest, columns=("partition",))
    quarantine = Path(quarantine) if quarantine else default_quarantine(manifest)
    check_unlike(quarantine, manifest)
    remove_leftovers(manifest.parent / IMAGES, manifest, quarantine)
    with run_lock(manifest.parent, option="--out"):
        rows = _read_scans(found, root, manifest.parent, n_jobs=n_jobs, progress=progress)
        _set_copies_aside(rows, found)
        return _written(found, rows, root, manifest, quarantine)


def _read_scans(found: Layout, root: Path, out: Path, *, n_jobs: int, progress: bool) -> list[dict[str, Any]]:
    """Returns the row of each scan that can be used; the others are added to what is set aside."""
    read = partial(_read_scan, root=root.resolve(), out=out.resolve())
    rows = []
    jobs = n_jobs if len(found.scans) >= SERIAL_BELOW else 1
    told = in_order(read, found.scans, label="Reading scans", n_jobs=jobs, progress=progress)
    for scan, outcome in zip(found.scans, told, strict=True):
        if "code" in outcome:
            for file in scan.files.values():
                found.aside.append({"file": file, "row": "", "scan_id": scan.row["scan_id"], **outcome})
        else:
            rows.append(scan.row | outcome | {"_files": list(scan.files.values())})
    return rows


def _read_scan(scan: PublicScan, *, root: Path, out: Path) -> dict[str, Any]:
    """Reads the images of a scan and writes them as its views; returns cells of its row, or why it is set aside."""
    notes: list[str] = []
    views: list[View] = []
    try:
        for name in VIEWS:
            if name in scan.files:
                with bounded(), refusing(root / scan.files[name]):
                    views.append(View(name, _counts(root / scan.files[name], notes), None, "manifest"))
        by_name = {view.name: view for view in views}
        notes += require_quality(Scan(scan.row["scan_id"], by_name.get("anterior"), by_name.get("posterior")))
    except ScanError as error:
        return refusal(error)
    file = hashlib.sha256(scan.row["scan_id"].encode()).hexdigest()[:16]
    written = [write_view(view, out, file) for view in views]
    outlines = {view["view"]: view["outline"] for view in written}
    cells: dict[str, Any] = {}
    for view in written:
        name = view["view"]
        cells |= {name: view["image"], f"sha256_{name}": view["sha256"], f"counts_{name}": view["counts"]}
    cells["posterior_mirrored"] = posterior_mirrored(outlines.get("anterior", ""), outlines.get("posterior", ""))
    cells["_pixels"] = "/".join(view["pixels"] for view in written)
    told = [scan.row.get("notes", ""), *notes]
    return cells | {"notes": "; ".join(dict.fromkeys(note for note in told if note))[:200]}


def _counts(path: Path, notes: list[str]) -> np.ndarray:
    """Returns the grey values of an image; of a JPEG as well, which is said: its pixels are no counts."""
    if file_kind(path)[0] != "jpeg":
        return read_counts(path, warnings=[])
    notes.append("JPEG: 8-bit grey levels with loss, no counts")
    with Image.open(path, formats=["JPEG"]) as image:
        if image.size[0] * image.size[1] > MAX_PIXELS:
            raise ScanError("too_large", f"{image.size[1]} x {image.size[0]} pixels; at most {MAX_PIXELS:,} are read")
        colours = np.asarray(image.convert("RGB") if image.mode != "L" else image)
    check_matrix(*colours.shape[:2])
    if colours.ndim == 2:
        return colours
    if int((colours.max(axis=2) - colours.min(axis=2)).max()) > COLOUR_NOISE:
        raise ScanError("not_grey", "a colour image: a screenshot or a coloured display")
    return np.ascontiguousarray(colours[..., 1])


def _set_copies_aside(rows: list[dict[str, Any]], found: Layout) -> None:
    """Sets every scan aside whose pixels another scan has as well: nobody can tell whose they are."""
    counted = Counter(row["_pixels"] for row in rows)
    for row in [row for row in rows if counted[row["_pixels"]] > 1]:
        rows.remove(row)
        for file in row["_files"]:
            found.set_aside(
                file, "shared_pixels", "the same pixels as another scan.", "Nothing.", scan_id=row["scan_id"]
            )


def _written(found: Layout, rows: list[dict[str, Any]], root: Path, manifest: Path, quarantine: Path) -> Outcome:
    """Writes the tables; counts what became of every file."""
    out = manifest.parent
    ends = {item["file"]: ("quarantined", item["code"]) for item in found.aside}
    ends |= dict.fromkeys(found.read, ("used", "")) | {file: ("used", "") for row in rows for file in row["_files"]}
    boxes = manifest.with_name(f"{manifest.stem}_boxes.csv")
    skipped = (out / IMAGES, manifest, quarantine, boxes, *flow_files(manifest))
    tally = Counter(
        ends.get(entry.path, ("ignored", entry.code or "other_file")) for entry in walk(root, without=skipped)
    )
    flow = file_flow((end, code, n) for (end, code), n in sorted(tally.items()))
    extra = [name for name in EXTRA if name not in _EMPTY] + ["label_anterior", "label_posterior"]
    table = pd.DataFrame(rows, columns=pd.Index([*COLUMNS, *extra]))
    aside = [[item[name] for name in QUARANTINE_COLUMNS] for item in found.aside]
    write_aside(quarantine, aside, manifest, flow)
    if len(table):
        write_manifest(manifest, table)
    if found.boxes is not None:
        write_csv(boxes, found.boxes)
    by_end = {end: sum(n for (e, _), n in tally.items() if e == end) for end in ("used", "quarantined", "ignored")}
    ignored = {code: n for (end, code), n in sorted(tally.items()) if end == "ignored"}
    return Outcome(manifest, quarantine, len(table), table["patient_id"].nunique(), by_end, ignored, (0, 0), len(aside))
