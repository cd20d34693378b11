"""Gallery: scans with their saliency maps and truth on one page that needs no server and no network.

The page holds every picture, its own style and script; its policy lets nothing else run and nothing be fetched, and
its script sets texts as text, never as markup.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Mapping
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import numpy as np

from bonescan_utils.files import safe_text, visible, write_text
from bonescan_utils.pictures import SHORT, SIDES, darkest
from bonescan_utils.viewer.pixels import encoded, outline_path, reduced, root_levels, saliency_colours
from bonescan_utils.viewer.viewed import OUTCOMES, ViewedScan
from bonescan_utils.wording import arm_text

RESEARCH_ONLY = "For research use only. Saliency maps show what a score rests on; they are no diagnosis."


def write_gallery(
    page: Path, scans: Iterable[ViewedScan], *, title: str = "Scans", note: str = "", home: str = ""
) -> Path:
    """Write scans as one HTML page to look through: filter, sort, window, saliency map, truth.

    Counts are kept as levels of their root (see `pixels.LEVELS_PER_ROOT`) in lossless pictures, maps as 8-bit
    pictures of a quarter of the resolution. Of a scan that several arms judged, the counts are kept once: 1024 x 256
    views take about 130 kB a scan on the page, and each map of a scan about 2 kB.

    Args:
        page: The HTML file to write.
        scans: The scans; one of several arms is given once for each. They are taken one after the other.
        title: Title of the page.
        note: A line below the title, such as that the scans are phantoms.
        home: Address of the run's first page, relative to the page; '' for no link.

    Returns:
        `page`.

    Raises:
        ValueError: There is no scan, one is given twice for an arm, or a map does not fit its scan.
    """
    places: dict[str, int] = {}
    entries: list[dict[str, Any]] = []
    blocks: list[str] = []
    seen: set[tuple[str, str]] = set()
    for scan in scans:
        if (scan.scan_id, scan.arm) in seen:
            raise ValueError(f"scan {scan.scan_id} of arm {scan.arm!r} is given twice; expected once for each arm")
        seen.add((scan.scan_id, scan.arm))
        if scan.scan_id not in places:
            places[scan.scan_id] = len(places)
            blocks.append(_block(f"scan-{places[scan.scan_id]}", _counts(scan)))
        blocks.append(_block(f"maps-{len(entries)}", _maps(scan)))
        entries.append(_entry(scan, place=len(entries), counts=places[scan.scan_id]))
    if not entries:
        raise ValueError("there is no scan for the gallery: give at least one ViewedScan")
    write_text(page, visible(_document(title, note, home, [*blocks, _block("gallery", _shared(entries))])))
    return page


def _entry(scan: ViewedScan, *, place: int, counts: int) -> dict[str, Any]:
    """Return what the list shows of a scan, and the blocks that hold its pictures."""
    return {
        "id": safe_text(scan.scan_id), "arm": scan.arm, "outcome": scan.outcome, "y_true": scan.y_true,
        "y_score": scan.y_score, "threshold": scan.threshold, "primary": safe_text(scan.primary or "unknown"),
        "counts": counts, "maps": place,
        "raw_max": {method: float(found.raw_max) for method, found in scan.maps.items()},
    }  # fmt: skip


def _shared(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what all scans share: the list, its words and its colours."""
    arms = dict.fromkeys(entry["arm"] for entry in entries)
    return {
        "entries": entries,
        "arms": {arm: arm_text(arm) for arm in arms},
        "methods": list(dict.fromkeys(method for entry in entries for method in entry["raw_max"])),
        "outcomes": OUTCOMES,
        "views": {view: {"short": SHORT[view], "sides": SIDES[view]} for view in SHORT},
        "colours": saliency_colours().ravel().tolist(),
    }


def _counts(scan: ViewedScan) -> dict[str, Any]:
    """Return the pictures of a scan's counts and the outlines of its truth."""
    views = {}
    for view, counts in scan.counts.items():
        levels, per_root = root_levels(counts)
        views[view] = {
            "src": _picture(encoded(levels, "WEBP", lossless=True), "webp"),
            "per_root": per_root,
            "rows": counts.shape[0],
            "columns": counts.shape[1],
            "truth": outline_path(scan.truth[view]) if scan.truth and view in scan.truth else "",
        }
    highest = max(int(counts.max()) for counts in scan.counts.values())
    known = scan.truth is not None
    return {"views": views, "stretch": scan.stretch, "black": darkest(scan.counts), "highest": highest, "known": known}


def _maps(scan: ViewedScan) -> dict[str, dict[str, str]]:
    """Return method -> view -> picture of the saliency map; compressing it moves no pixel by more than about 0.04."""
    found = {method: scan.map_by_view(method) for method in scan.maps}
    return {method: {view: _map_picture(one) for view, one in maps.items()} for method, maps in found.items()}


def _map_picture(saliency: np.ndarray) -> str:
    return _picture(encoded(reduced(saliency), "WEBP", quality=90), "webp")


def _picture(data: bytes, kind: str) -> str:
    """Return a picture as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _block(name: str, content: Mapping[str, Any]) -> str:
    """Return data as an element that the page's script reads; no text in it can end the element."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    text = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return f'<script type="application/json" id="{name}">{text}</script>'


def _document(title: str, note: str, home: str, blocks: list[str]) -> str:
    """Return the page: the skeleton in `assets/gallery.html` with style, script, texts and data put in."""
    style, script, skeleton = (_asset(f"gallery.{kind}") for kind in ("css", "js", "html"))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)};"
        " base-uri 'none'; form-action 'none'"
    )
    link = f'<a id="home" href="{html.escape(home)}">Report</a>' if home else ""
    parts = {
        "policy": html.escape(policy, quote=False), "title": html.escape(title), "style": style, "script": script,
        "note": html.escape(f"{note} {RESEARCH_ONLY}".strip()), "home": link, "data": "\n".join(blocks),
    }  # fmt: skip
    pieces = skeleton.split("@@")  # text, name of a part, text, ...
    return "".join(parts[piece] if place % 2 else piece for place, piece in enumerate(pieces))


def _asset(name: str) -> str:
    return (package_files("bonescan_utils") / "assets" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """Return the source of a policy that lets exactly this text be used."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
