"""BS-80K: whole-body scans of 3,247 patients as JPEG, labelled per view (Huang et al., Comput Biol Med 2022).

Layout: `wholeBodyANT/<id>.jpg` and `wholeBodyPOST/<id>.jpg`, beside each folder's images a list `<folder>.txt` with
lines `filename label` (1: the view has a box of a nidus) and Pascal VOC boxes in `ant/` and `post/`; 26 folders of
regions, which are crops of the same images and are left aside.

The rule for a scan's label: abnormal if either view is. Abnormal means a suspected lesion was boxed, not a metastasis
proven: `label_source` says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from bonescan_utils.boxes import COLUMNS, voc_boxes
from bonescan_utils.gate import read_small
from bonescan_utils.ingest.layout import Layout, PublicScan

FOLDERS = {"anterior": ("wholeBodyANT", "ant"), "posterior": ("wholeBodyPOST", "post")}

SAME_PATIENT = {"2244": "828", "570": "312", "3216": "831", "3245": "832"}
"""Ids that read as another id's patient: their region crops are byte-identical. The first of each pair is kept."""
UNUSABLE = {"1654", "779", "722"}
"""No skeleton can be seen (a blur, a mostly blank frame, noise)."""
CHILD = {"1240"}

MAX_PIXELS = 4096
MAX_LIST = 16 << 20
"""Bytes of a list of labels, at most; that of the data set has 50 kB."""
_BOX_COLUMNS = [*COLUMNS, "label"]


def find(root: Path) -> Layout | None:
    """Returns the scans of a BS-80K folder (or of the folder with `temp/` in it), None if it is none."""
    bases = [base for base in (root, root / "temp") if (base / "wholeBodyANT").is_dir()]
    if not bases or not (bases[0] / "wholeBodyPOST").is_dir():
        return None
    layout = Layout()
    prefix = "" if bases[0] == root else "temp/"
    images = {view: _images(bases[0], prefix, folder) for view, (folder, _) in FOLDERS.items()}
    labels = {view: _labels(layout, root, prefix, folder, images[view]) for view, (folder, _) in FOLDERS.items()}
    for number in sorted({*images["anterior"], *images["posterior"]}, key=lambda text: (len(text), text)):
        _add(layout, number, images, labels)
    boxes = [box for view in FOLDERS for box in _boxes(layout, root, prefix, view)]
    layout.boxes = pd.DataFrame(boxes, columns=pd.Index(_BOX_COLUMNS))
    return layout


def _images(base: Path, prefix: str, folder: str) -> dict[str, str]:
    """Returns id -> path of the images of a view."""
    return {file.stem: f"{prefix}{folder}/{file.name}" for file in sorted((base / folder).glob("*.jpg"))}


def _labels(layout: Layout, root: Path, prefix: str, folder: str, images: dict[str, str]) -> dict[str, int]:
    """Returns id -> label of the list of a view; a line that fits no image is set aside.

    Raises:
        ScanError: The list is none that can be read.
    """
    name = f"{prefix}{folder}/{folder}.txt"
    if not (root / name).is_file():
        return {}
    layout.read.append(name)
    found: dict[str, set[int]] = {}
    lines = read_small(root / name, most=MAX_LIST).decode("utf-8-sig", errors="replace").splitlines()
    for at, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        number = Path(words[0]).stem
        if len(words) != 2 or words[1] not in ("0", "1"):
            layout.set_aside(name, "label", "no 'filename label' with a label of 0 or 1.", "Correct the line.", row=at)
        elif number not in images:
            layout.set_aside(name, "absent", "it lists an image that is not there.", "Unpack again.", row=at)
        else:
            found.setdefault(number, set()).add(int(words[1]))
    return {number: max(values) if len(values) == 1 else -1 for number, values in found.items()}


def _add(layout: Layout, number: str, images: dict[str, dict[str, str]], labels: dict[str, dict[str, int]]) -> None:
    """Adds a scan, or sets its files aside."""
    files = {view: paths[number] for view, paths in images.items() if number in paths}
    told = {view: labels[view][number] for view in files if number in labels[view]}
    code, reason, step = _doubt(number, files, told)
    if code:
        for file in files.values():
            layout.set_aside(file, code, reason, step, scan_id=f"BS80K-{number}")
        return
    row: dict[str, Any] = {
        "scan_id": f"BS80K-{number}",
        "patient_id": f"BS80K-{number}",
        "metastasis": max(told.values()),
        "label_source": "bs80k: abnormal in either view",
        "site": "BS-80K",
        "notes": "the views differ in label" if len(set(told.values())) > 1 else "",
        **{f"label_{view}": value for view, value in told.items()},
    }
    layout.scans.append(PublicScan(files, row))


def _doubt(number: str, files: dict[str, str], told: dict[str, int]) -> tuple[str, str, str]:
    """Returns code, reason and next step of a scan that is not used; empty for one that is."""
    if number in SAME_PATIENT:
        return "copy", f"the same patient as id {SAME_PATIENT[number]}, which is used.", "Nothing."
    if number in UNUSABLE:
        return "unusable", "known to show no skeleton.", "Nothing."
    if number in CHILD:
        return "child", "known to be a child; the study is of adults.", "Nothing."
    if -1 in told.values():
        return "label_conflict", "listed with both labels.", "Find out which is right."
    if len(told) < len(files):
        return "no_label", "a view without a label in its list.", "Look into the list; an unknown label is not 0."
    return "", "", ""


def _boxes(layout: Layout, root: Path, prefix: str, view: str) -> Iterator[dict[str, Any]]:
    """Gives the boxes of a view."""
    folder, inner = FOLDERS[view]
    used = {scan.row["scan_id"] for scan in layout.scans}
    for file in sorted((root / f"{prefix}{folder}" / inner).glob("*.xml")):
        name, scan_id = f"{prefix}{folder}/{inner}/{file.name}", f"BS80K-{file.stem}"
        try:
            found = list(_parsed(file))
        except (ValueError, OSError):
            layout.set_aside(name, "boxes", "no Pascal VOC file that can be read.", "Unpack again.", scan_id=scan_id)
            continue
        layout.read.append(name)
        if scan_id in used:
            yield from ({"scan_id": scan_id, "view": view, **box} for box in found)


def _parsed(file: Path) -> Iterator[dict[str, Any]]:
    """Gives label and corners of each box; one that the set cannot have spoils the file."""
    for box in voc_boxes(file):
        if box["label"] not in ("Normal", "Abnormal"):
            raise ValueError("a box of another name")
        corners = {name: int(float(str(box[name]))) for name in COLUMNS[2:]}
        if min(corners.values()) < 0 or max(corners.values()) > MAX_PIXELS:
            raise ValueError("a box outside every image")
        yield {"label": box["label"], **corners}
