"""A manifest row, or a file, -> Scan. The reader is chosen by the content of the file, not by its suffix."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bonescan_utils.bounds import bounded
from bonescan_utils.dicom_frames import view_in_text
from bonescan_utils.gate import file_kind
from bonescan_utils.scan import VIEWS, Reading, Scan, ScanError, View

ASSUMED = ("frame_order", "text")
"""Sources that are an assumption: a manifest that names the view replaces them."""


def load_scan(row: Mapping[str, Any], root: str | Path) -> Scan:
    """Loads the scan of a manifest row.

    A DICOM file of two views may stand in both columns, or in one (then the other view is left out). For a
    file of one view the manifest's column decides, unless the file itself says otherwise: that is an error.

    Args:
        row: `scan_id`, `anterior`, `posterior`; paths relative to `root`, '' for none. `pixel_mm_row` and
            `pixel_mm_column`, if there, are the pixel size of images that tell none.
        root: The folder of the manifest.

    Returns:
        The scan with what its readers warned of. Its quality is not judged: see `scan.require_quality`.

    Raises:
        ScanError: A file cannot be used, lies outside `root`, or holds another view than the manifest says.
    """
    paths = {name: resolve(str(row[name]), root) for name in VIEWS if str(row[name] or "")}
    if not paths:
        raise ScanError("no_view", f"scan {row['scan_id']}: the row names no file")
    readings: dict[Path, Reading] = {}
    views: dict[str, View] = {}
    warnings: list[str] = []
    for name, path in paths.items():
        if path not in readings:
            readings[path] = _read(path, name)
        twice = len(paths) == 2 and paths["anterior"] == paths["posterior"]
        view = _named(readings[path], name, path, twice, warnings)
        views[name] = view if view.pixel_mm else replace(view, pixel_mm=_stated_size(row))
    if len({view.pixel_mm for view in views.values()}) > 1:
        warnings.append("the two views differ in pixel size")
    return Scan(str(row["scan_id"]), views.get("anterior"), views.get("posterior"), tuple(warnings))


def _stated_size(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """Returns the pixel size that the manifest states in mm, or None."""
    try:
        sizes = float(row.get("pixel_mm_row") or 0), float(row.get("pixel_mm_column") or 0)
    except ValueError:
        return None
    return sizes if min(sizes) > 0 else None


def resolve(given: str, root: str | Path) -> Path:
    """Returns the path of a file of the manifest.

    Raises:
        ScanError: It lies outside `root` once links are followed (`outside`).
    """
    path, base = Path(root) / given, os.path.realpath(root)
    try:
        inside = os.path.commonpath([base, os.path.realpath(path)]) == base
    except ValueError:  # another drive, or a character that no path holds
        inside = False
    if not inside:
        raise ScanError("outside", "the file lies outside the folder of the manifest", path=given)
    return path


def _read(path: Path, name: str) -> Reading:
    """Reads a file by its content, in bounded time and memory; an image is the view that its column says."""
    if file_kind(path)[0] not in ("png", "tiff", "npy", "jpeg"):
        from bonescan_utils.dicom import read_dicom

        with bounded():
            return read_dicom(path)
    from bonescan_utils.images import read_images

    with bounded():
        return read_images(path if name == "anterior" else None, path if name == "posterior" else None)


def _named(reading: Reading, name: str, path: Path, twice: bool, warnings: list[str]) -> View:
    """Returns the view of a reading that belongs in column `name`, and passes on its warnings."""
    if len(reading.views) == 2 or (name in reading.views and not _assumed(reading)):
        if len(reading.views) == 2 and not twice:
            warnings.append(f"the file holds both views; only the {name} one is named in the manifest")
        warnings.extend(text for text in reading.warnings if text not in warnings)
        return reading.views[name]
    (found,) = reading.views.values()
    if twice:
        raise ScanError(
            "one_view", f"one {found.name} view in a file that is named for both", path=path,
            hint="Leave the other column empty, or name its own file.",
        )  # fmt: skip
    if found.name != name and found.view_source != "frame_order":
        raise ScanError(
            "view_conflict", f"the file says {found.name}, the manifest says {name}", path=path,
            hint="Put it into the right column.",
        )  # fmt: skip
    warnings.extend(text for text in reading.warnings if not text.startswith("no view code"))
    return replace(found, name=name, view_source="manifest")


def _assumed(reading: Reading) -> bool:
    return all(view.view_source in ASSUMED for view in reading.views.values())


def load_file(path: str | Path, *, scan_id: str = "") -> Scan:
    """Loads a lone file as a scan, without a manifest.

    A DICOM file says its views itself. An image is the view that its name tells (`p12_post.png`), else
    anterior, assumed and said so.

    Args:
        path: DICOM, PNG, TIFF or NPY.
        scan_id: The id to give; the file's name without suffix if empty.

    Raises:
        ScanError: The file cannot be used.
    """
    path = Path(path)
    scan_id = scan_id or path.stem
    told = view_in_text(path.stem)
    reading = _read(path, told or "anterior")
    views, warnings = reading.views, list(reading.warnings)
    (source,) = {view.view_source for view in views.values()}
    if source == "manifest":  # an image: nobody named its view
        source = "text" if told else "frame_order"
        views = {name: replace(view, view_source=source) for name, view in views.items()}
        if not told:
            warnings.append("an image says no view; it is assumed to be anterior")
    return Scan(scan_id, views.get("anterior"), views.get("posterior"), tuple(warnings))
