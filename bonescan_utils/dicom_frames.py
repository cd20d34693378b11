"""Which frame of a DICOM NM file is which view: energy window first, then the view.

Frame i was taken through energy window EnergyWindowVector[i] by detector DetectorVector[i], and item k of the
Detector Information Sequence describes detector k (DICOM PS3.3 C.8.4.11). So the view of a frame is the view
code of its detector's item, reached through the vector; the order of the frames tells nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bonescan_utils.scan import ScanError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

TC99M_KEV = 140.0

VIEW_OF_CODE = {
    "399321004": "anterior",  # SCT
    "255549009": "anterior",
    "G-5215": "anterior",  # SRT and SNM3
    "399001007": "posterior",
    "255551008": "posterior",
    "G-5216": "posterior",
}
"""CID 26 and the qualifiers met in its place. Antero-posterior (R-10206) says a beam's way: not taken."""

_ANTERIOR = re.compile(r"(?<![a-z])ant(erior)?(?![a-z])", re.IGNORECASE)
_POSTERIOR = re.compile(
    r"(?<![a-z])(posterior|post(?![ _.-]*(inj|op|ther|treat|dose|contrast|surg|chemo|rad|void|mict)))"
    r"(?![a-z])",
    re.IGNORECASE,
)
_OTHER_VIEW = re.compile(r"oblique|lateral|antero|postero|lao|rao|lpo|rpo", re.IGNORECASE)


@dataclass(frozen=True)
class Frame:
    """A frame to keep: its index in the file, its view, and what told the view."""

    index: int
    view: str
    view_source: str


def pick_frames(ds: Dataset, n_frames: int) -> tuple[list[Frame], list[str]]:
    """Picks the one or two frames that are the views of the scan.

    Args:
        ds: The header.
        n_frames: Frames in the file.

    Returns:
        The frames, anterior first, and warnings.

    Raises:
        ScanError: No energy window holds 140 keV (`energy_window`); the vectors do not fit the frames
            (`frames`); the views are missing, doubtful, or there are two of one (`views_unclear`).
    """
    warnings: list[str] = []
    windows = _vector(ds, "EnergyWindowVector", "NumberOfEnergyWindows", n_frames)
    kept = _in_photopeak(ds, windows, warnings)
    detectors = _vector(ds, "DetectorVector", "NumberOfDetectors", n_frames)
    names = [_coded_view(ds, detectors[index], single=n_frames == 1) for index in kept]
    if len(kept) == 1 and names[0] != "":
        view, source = (names[0], "view_code") if names[0] else _single_view(ds, warnings)
        return [Frame(kept[0], view, source)], warnings
    if sorted(name or "?" for name in names) != ["anterior", "posterior"]:
        found = ", ".join(name or "unknown" for name in names)
        raise ScanError(
            "views_unclear",
            f"{len(kept)} frames with the views: {found}; expected one anterior and one posterior view code,"
            " or a single frame",
            hint="Write one file per view and name them in the manifest's two columns.",
        )
    frames = [Frame(index, str(name), "view_code") for index, name in zip(kept, names, strict=True)]
    return sorted(frames, key=lambda frame: frame.view), warnings


def _vector(ds: Dataset, keyword: str, number: str, n_frames: int) -> list[int]:
    """Returns a frame vector as one number per frame; an absent one is all 1 where no other is possible."""
    value = ds.get(keyword)
    values = _as_list(value)
    if not values and (n_frames == 1 or (number == "NumberOfEnergyWindows" and ds.get(number) in (None, 1))):
        return [1] * n_frames
    if len(values) != n_frames:
        raise ScanError(
            "frames",
            f"{keyword} has {len(values)} values for {n_frames} frames; expected one for each",
            hint="Export the file again from the camera or the PACS.",
        )
    return [int(v) for v in values]


def _as_list(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]


def _in_photopeak(ds: Dataset, windows: list[int], warnings: list[str]) -> list[int]:
    """Returns the frames of the energy window that holds 140 keV; other windows hold scatter."""
    limits = {window: _limits(ds, window) for window in sorted(set(windows))}
    known = {window: pair for window, pair in limits.items() if pair is not None}
    if not known and len(limits) == 1:
        warnings.append("no energy window stated; taken as the 140 keV window of Tc-99m")
        return list(range(len(windows)))
    holding = {w: high - low for w, (low, high) in known.items() if low <= TC99M_KEV <= high}
    if not holding:
        shown = ", ".join(f"{low:g}-{high:g} keV" for low, high in known.values()) or "none stated"
        raise ScanError(
            "energy_window",
            f"{len(limits)} energy windows ({shown}), none known to hold 140 keV",
            hint="Give the photopeak image of a Tc-99m scan.",
        )
    chosen = min(holding, key=lambda window: holding[window])
    if len(holding) > 1:
        warnings.append(f"{len(holding)} energy windows hold 140 keV; the narrowest is used")
    if len(limits) > 1:
        dropped = sum(window != chosen for window in windows)
        warnings.append(f"{dropped} frames of other energy windows are left out")
    return [index for index, window in enumerate(windows) if window == chosen]


def _limits(ds: Dataset, window: int) -> tuple[float, float] | None:
    """Returns the lowest and highest keV of an energy window, or None if the header does not say."""
    item = _item(ds.get("EnergyWindowInformationSequence"), window)
    ranges = _as_list(item.get("EnergyWindowRangeSequence")) if item is not None else []
    pairs = [(r.get("EnergyWindowLowerLimit"), r.get("EnergyWindowUpperLimit")) for r in ranges]
    if not pairs or any(value in (None, "") for pair in pairs for value in pair):
        return None
    for low, high in pairs:  # a window of several ranges holds 140 keV if one of them does
        if float(low) <= TC99M_KEV <= float(high):
            return float(low), float(high)
    return float(pairs[0][0]), float(pairs[0][1])


def _item(sequence: Any, number: int) -> Dataset | None:
    """Returns item `number` (from 1) of a sequence, or None."""
    items = _as_list(sequence)
    return items[number - 1] if 1 <= number <= len(items) else None


def _coded_view(ds: Dataset, detector: int, *, single: bool) -> str | None:
    """Returns the view that a detector's view code or its meaning tells, '' for another one, None without."""
    sequence = _as_list(ds.get("DetectorInformationSequence"))
    if single and len(sequence) == 1:
        detector = 1  # one frame, one item: whatever number the detector has
    item = _item(sequence, detector)
    codes = _as_list(item.get("ViewCodeSequence")) if item is not None else []
    if len(codes) != 1:
        return "" if codes else None
    meaning = str(codes[0].get("CodeMeaning", ""))
    told, by_code = view_in_text(meaning), VIEW_OF_CODE.get(str(codes[0].get("CodeValue", "")).strip())
    if told and by_code and told != by_code:
        raise ScanError(
            "views_unclear",
            f"a view code for {by_code} with a meaning that says {told}",
            hint="Name the views in the manifest, one file per view.",
        )
    return by_code or told or ""


def view_in_text(text: str) -> str | None:
    """Returns the view that a free text names, or None if it names none, both, or an oblique one."""
    anterior, posterior = bool(_ANTERIOR.search(text)), bool(_POSTERIOR.search(text))
    if anterior == posterior or _OTHER_VIEW.search(text):
        return None
    return "anterior" if anterior else "posterior"


def _single_view(ds: Dataset, warnings: list[str]) -> tuple[str, str]:
    """Returns view and source of a single frame without a view code: from text, else anterior, assumed."""
    texts = [str(ds.get(name, "") or "") for name in ("SeriesDescription", "ImageID", "ViewPosition")]
    told = {view_in_text(text) for text in texts} - {None}
    if len(told) == 1:
        view = str(told.pop())
        warnings.append(f"no view code; {view} is taken from the text of the series or image")
        return view, "text"
    warnings.append("no view code and no text names the view; a single frame is assumed to be anterior")
    return "anterior", "frame_order"
