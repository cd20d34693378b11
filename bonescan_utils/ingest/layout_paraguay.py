"""IICS-UNA (Paraguay): 291 patients as 16-bit PNG, labelled per patient (Zenodo 10.5281/zenodo.13900966, CC BY 4.0).

Layout: `<class>/<view>/A<n>.png` and `P<n>.png`; a class and a number are a patient. The folder of classes is the
root, or `images/` in it.
"""

from __future__ import annotations

import re
from pathlib import Path

from bonescan_utils.ingest.layout import Layout, PublicScan

_WITHOUT = re.compile(r"(^|[^a-z])(no|sin|without|free|normal|negativ|healthy|sano)", re.IGNORECASE)
_WITH = re.compile(r"metast|positiv", re.IGNORECASE)
_VIEWS = {"anterior": re.compile(r"ant", re.IGNORECASE), "posterior": re.compile(r"post", re.IGNORECASE)}
_NAME = {"anterior": re.compile(r"A(\d+)", re.IGNORECASE), "posterior": re.compile(r"P(\d+)", re.IGNORECASE)}


def find(root: Path) -> Layout | None:
    """Returns the scans of a folder with this layout, None if it has another one."""
    for base in (root, root / "images"):
        classes = {label: folder for folder in _folders(base) if (label := _label(folder.name)) is not None}
        if set(classes) == {0, 1} and all(len(_views(folder)) == 2 for folder in classes.values()):
            layout = Layout()
            for label, folder in sorted(classes.items()):
                _add(layout, root, folder, label)
            return layout
    return None


def _folders(base: Path) -> list[Path]:
    return sorted(path for path in base.iterdir() if path.is_dir()) if base.is_dir() else []


def _label(name: str) -> int | None:
    """Returns the label that the name of a class tells, None if it tells none."""
    if _WITHOUT.search(name):
        return 0
    return 1 if _WITH.search(name) else None


def _views(folder: Path) -> dict[str, Path]:
    """Returns view -> folder."""
    inner = _folders(folder)
    return {view: path for view, pattern in _VIEWS.items() for path in inner if pattern.match(path.name)}


def _add(layout: Layout, root: Path, folder: Path, label: int) -> None:
    """Adds the scans of a class; a file without a number is set aside."""
    files: dict[str, dict[str, str]] = {}
    for view, inner in _views(folder).items():
        for file in sorted(inner.glob("*.png")):
            path, named = file.relative_to(root).as_posix(), _NAME[view].fullmatch(file.stem)
            number = str(int(named[1])) if named else ""
            if not number:
                reason = f"an {view} image is named {'A' if view == 'anterior' else 'P'} and a number."
                layout.set_aside(path, "name", reason, "Rename it, if you know whose it is.")
            elif view in files.setdefault(number, {}):
                layout.set_aside(path, "name", "two images of one number and view.", "Find out which is right.")
            else:
                files[number][view] = path
    for number in sorted(files, key=int):
        scan_id = f"PY-{'M' if label else 'N'}{int(number):03d}"
        row = {
            "scan_id": scan_id,
            "patient_id": scan_id,
            "metastasis": label,
            "label_source": "final diagnosis",
            "site": "IICS-UNA",
            "tracer": "MDP",
        }
        layout.scans.append(PublicScan(files[number], row))
