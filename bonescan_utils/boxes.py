"""Boxes: lesions that readers have boxed, as the truth that saliency maps are scored against.

One contract for both forms, a CSV and a folder of Pascal VOC XML: a scan that is named was read; one that is named
without a box was read and has no lesion; one that is not named was not read, and nothing is said of it. Columns and
rows are counted from 0, and a box holds `x0 <= column < x1`, `y0 <= row < y1` of the view's own pixels.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage as ndi

from bonescan_utils.burden import region_of
from bonescan_utils.files import CsvError, parse_csv, safe_text
from bonescan_utils.gate import read_small
from bonescan_utils.problems import ManifestError, Problem
from bonescan_utils.scan import VIEWS, Scan, ScanError

CORNERS = ("x0", "y0", "x1", "y1")
COLUMNS = ("scan_id", "view", *CORNERS)
OPTIONAL = ("label", "reader")
NOT_A_LESION = "normal"
"""A box with this label, in any case, was drawn round something that is no lesion."""
MOST = 254
"""Lesions of a scan, at most: they are numbered in 8 bits."""
MAX_XML = 1 << 20
_VOC = ("xmin", "ymin", "xmax", "ymax")
_FINDINGS = ["scan_id", "lesion", "prominence", "region"]


@dataclass(frozen=True)
class Boxes:
    """Boxes of some scans.

    Attributes:
        table: scan_id, view, x0, y0, x1, y1 (float pixels; NaN in all four: read, no box), label, reader, file, line.
    """

    table: pd.DataFrame

    def scans(self) -> set[str]:
        """Return the scans that were read."""
        return set(self.table["scan_id"])

    def masks(self, scan: Scan) -> dict[str, np.ndarray]:
        """Return the boxed pixels of each view of a scan, bool (rows, columns)."""
        return {view: labels > 0 for view, labels in self.labels(scan).items()}

    def labels(self, scan: Scan) -> dict[str, np.ndarray]:
        """Return the lesions of each view of a scan, uint8 (rows, columns): 1, 2, ...; boxes that meet are one lesion.

        Raises:
            ManifestError: A box lies outside its image, its view is not there, or there are more than `MOST` lesions.
        """
        self.check([scan])
        found, before = {}, 0
        for view in scan.views:
            mask = np.zeros(view.counts.shape, bool)
            for x0, y0, x1, y1 in self._lesions(scan.scan_id, view.name)[list(CORNERS)].to_numpy(float):
                mask[math.floor(y0) : math.ceil(y1), math.floor(x0) : math.ceil(x1)] = True
            parts, n = ndi.label(mask, structure=np.ones((3, 3)))
            found[view.name] = np.where(parts > 0, parts + before, 0)
            before += n
        if before > MOST:
            raise ManifestError([self._problem(scan.scan_id, "", f"{before} lesions", f"at most {MOST} in a scan")])
        return {view: labels.astype(np.uint8) for view, labels in found.items()}

    def findings(self, scan: Scan) -> pd.DataFrame:
        """Return a scan's lesions with their groups: scan_id, lesion, prominence (pixels), region."""
        rows = []
        for view in scan.views:
            labels = self.labels(scan)[view.name]
            for lesion in np.unique(labels[labels > 0]):
                row, column = (int(at.mean()) for at in np.nonzero(labels == lesion))
                rows.append((scan.scan_id, int(lesion), float((labels == lesion).sum()), region_of(view, row, column)))
        return pd.DataFrame(rows, columns=_FINDINGS)

    def check(self, scans: Iterable[Scan]) -> None:
        """Refuse boxes that do not lie in the image of their view.

        Raises:
            ManifestError: It holds every problem found.
        """
        sizes = {(scan.scan_id, view.name): view.counts.shape for scan in scans for view in scan.views}
        named = {scan for scan, _ in sizes}
        problems = []
        drawn = self.table[self.table["scan_id"].isin(named) & self.table["x0"].notna()]
        for box in drawn.to_dict("records"):
            shape, where = sizes.get((box["scan_id"], box["view"])), (box["file"], box["line"], box["scan_id"])
            x0, y0, x1, y1 = (box[corner] for corner in CORNERS)
            if shape is None:
                problems.append(Problem(*where, "view", box["view"], "a view that the scan has"))
            elif x0 < 0 or y0 < 0 or x1 > shape[1] or y1 > shape[0]:
                expected = f"a box within the image of {shape[1]} x {shape[0]} pixels (columns x rows)"
                problems.append(Problem(*where, "", f"{x0:g},{y0:g},{x1:g},{y1:g}", expected))
        if problems:
            raise ManifestError(problems)

    def _lesions(self, scan_id: str, view: str) -> pd.DataFrame:
        mine = self.table[(self.table["scan_id"] == scan_id) & (self.table["view"] == view) & self.table["x0"].notna()]
        return mine[mine["label"].str.lower() != NOT_A_LESION]

    def _problem(self, scan_id: str, column: str, value: str, expected: str) -> Problem:
        first = self.table[self.table["scan_id"] == scan_id].iloc[0]
        return Problem(str(first["file"]), 0, scan_id, column, value, expected)


# ---------------------------------------------------------------------------------------------- reading
def read_boxes(path: Path | str, scan_ids: Iterable[str]) -> Boxes:
    """Read boxes from a CSV, or from a folder with `anterior/<scan_id>.xml` and `posterior/<scan_id>.xml`.

    Args:
        path: The CSV (`COLUMNS`, and `OPTIONAL` as far as there are) or the folder.
        scan_ids: All scans that the study knows of, used or left out.

    Raises:
        ManifestError: Anything is wrong with it; it holds every problem found, a line each.
    """
    path, known = Path(path), set(scan_ids)
    problems: list[Problem] = []
    rows = list(_of_folder(path, problems) if path.is_dir() else _of_csv(path, problems))
    for row in rows:
        if row["scan_id"] not in known:
            expected = "a scan of the manifest"
            problems.append(Problem(row["file"], row["line"], "", "scan_id", row["scan_id"], expected))
    if problems:
        raise ManifestError(problems)
    columns = [*COLUMNS, *OPTIONAL, "file", "line"]
    return Boxes(pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(CORNERS, float) | {"label": "str"}))


def voc_boxes(file: Path) -> list[dict[str, Any]]:
    """Return label and corners of each box of a Pascal VOC file.

    Nothing but plain XML is read: a document type, through which entities could be defined, is refused, and so is
    an encoding of more than one byte, in which one could hide.

    Raises:
        ValueError: One readable line: too large, no regular file, a document type, no XML, or a box without corners.
        OSError: It cannot be read.
    """
    try:
        data = read_small(file, most=MAX_XML)
    except ScanError as error:
        raise ValueError(f"a Pascal VOC file of at most {MAX_XML:,} bytes; {error.reason}") from None
    if b"<!" in data or b"\0" in data:
        raise ValueError(f"a Pascal VOC file of at most {MAX_XML:,} bytes, UTF-8, without document type or comment")
    try:
        root = ElementTree.fromstring(data)
        return [_voc_box(item) for item in root.iter("object")]
    except (ElementTree.ParseError, TypeError, LookupError) as error:
        raise ValueError(f"a Pascal VOC file ({safe_text(error, limit=60)})") from None


def _voc_box(item: ElementTree.Element) -> dict[str, Any]:
    texts = [item.findtext(f"bndbox/{corner}") or "" for corner in _VOC]
    corners = [_number(text) for text in texts]
    reason = _bad_corners(corners)
    if reason:
        raise ValueError(f"{reason} in every bndbox")
    return {"label": (item.findtext("name") or "").strip(), **dict(zip(CORNERS, corners, strict=True))}


def _of_folder(path: Path, problems: list[Problem]) -> Iterator[dict[str, Any]]:
    files = [(view, file) for view in VIEWS for file in sorted((path / view).glob("*.xml"))]
    if not files:
        problems.append(Problem(str(path), expected="anterior/<scan_id>.xml or posterior/<scan_id>.xml in the folder"))
    for view, file in files:
        about: dict[str, Any] = {"scan_id": file.stem, "view": view, "reader": "", "file": str(file), "line": 0}
        nothing = {"label": "", **dict.fromkeys(CORNERS, math.nan)}
        try:
            yield from (about | box for box in voc_boxes(file) or [nothing])
        except (ValueError, OSError) as error:
            expected = str(error) if isinstance(error, ValueError) else "a file that can be read"
            problems.append(Problem(str(file), scan_id=file.stem, expected=expected))


def _of_csv(path: Path, problems: list[Problem]) -> Iterator[dict[str, Any]]:
    try:
        table = parse_csv(path)
    except CsvError as error:
        problems.append(Problem(str(path), error.line, expected="a CSV table of boxes", hint=error.what))
        return
    problems += [Problem(str(path), line, expected="as many fields as the header", hint=what) for line, what in
                 table.faults]  # fmt: skip
    missing = [name for name in COLUMNS if name not in table.header]
    problems += [Problem(str(path), 1, column=name, expected="this column") for name in missing]
    for cells, line in zip(table.rows, table.lines, strict=True) if not missing else ():
        row = dict.fromkeys(OPTIONAL, "") | dict(zip(table.header, (cell.strip() for cell in cells), strict=True))
        texts = [row[name] for name in CORNERS]
        corners = [_number(text) for text in texts]
        reason = _bad_corners(corners) if any(texts) else ""
        if row["view"] not in VIEWS:
            problems.append(Problem(str(path), line, row["scan_id"], "view", row["view"], " or ".join(VIEWS)))
        elif reason:
            problems.append(Problem(str(path), line, row["scan_id"], "", ",".join(texts), reason))
        else:
            about: dict[str, Any] = {name: row[name] for name in ("scan_id", "view", *OPTIONAL)}
            yield about | dict(zip(CORNERS, corners, strict=True)) | {"file": str(path), "line": line}


def _number(text: str) -> float:
    """Return a number of pixels; NaN for what is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _bad_corners(corners: list[float]) -> str:
    """Return what was expected of the corners of a box; '' if they are."""
    if not all(math.isfinite(value) for value in corners):
        return "four numbers x0, y0, x1, y1"
    return "" if corners[0] < corners[2] and corners[1] < corners[3] else "x0 below x1 and y0 below y1"
