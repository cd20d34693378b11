"""Pairing: the files of one study -> one scan of two views, or of one; and what becomes of the other files.

Cameras write both views into one file (GE Xeleris, Siemens) or a file for each (GE Millennium, Philips/ADAC). Files of
one view belong together if they are of one study, one matrix and pixel size, and near in time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bonescan_utils.ingest.mirror import posterior_mirrored
from bonescan_utils.scan import VIEWS

MAX_APART_MIN = 45.0
"""Two passes of a one-headed camera follow each other; 45 minutes later it is another acquisition."""

Record = dict[str, Any]
_OF_DETECTOR = {1: "anterior", 2: "posterior"}


@dataclass
class Ends:
    """What becomes of the files of a study: the scan, if there is one, and why each other file is set aside."""

    scan: Record | None = None
    files: list[str] = field(default_factory=list)
    refused: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def refuse(self, records: Iterable[Record], code: str, reason: str, step: str) -> None:
        """Sets files aside."""
        self.refused |= {record["file"]: (code, reason, step) for record in records}


def pair_study(records: Sequence[Record]) -> Ends:
    """Makes the scan of a study.

    Where a study holds several whole-body acquisitions, the one with both views is used, an original before a
    derived one, the latest before an earlier one (bone shows late); the others are set aside.

    Args:
        records: What `examine` returned for each usable file of one study, in the order of their paths.
    """
    ends = Ends()
    kept = _without_copies(records, ends)
    candidates = [_joined([(view, record) for view in record["views"]]) for record in kept if len(record["views"]) == 2]
    candidates += _paired([record for record in kept if len(record["views"]) == 1], ends)
    candidates = [scan for scan in candidates if not _same_views(scan, ends)]
    candidates.sort(key=lambda scan: (len(scan["views"]), not scan["derived"], scan["when"]), reverse=True)
    if candidates:
        ends.scan = candidates[0]
        ends.files = [record["file"] for record in candidates[0]["records"]]
    for scan in candidates[1:]:
        ends.refuse(
            scan["records"], "other_acquisition", "another whole-body acquisition of this study is used.",
            "Nothing, or ingest the acquisition that you want by itself.",
        )  # fmt: skip
    return ends


def _without_copies(records: Sequence[Record], ends: Ends) -> list[Record]:
    """Leaves one of each: the same pixels twice are a copy; one instance id with two contents is no instance."""
    contents: dict[str, set[str]] = {}
    for record in records:
        contents.setdefault(record["instance"], set()).add(_pixels(record))
    first: dict[str, Record] = {}
    for record in records:
        if len(contents[record["instance"]]) > 1:
            reason = "the same SOP Instance UID with other pixels in another file."
            ends.refuse([record], "instance_conflict", reason, "Find out which file is right.")
        elif first.setdefault(_pixels(record), record) is not record:
            reason = "the same pixels as another file of this study, which is used."
            ends.refuse([record], "copy", reason, "Nothing: it is used once.")
    return [record for record in first.values() if record["file"] not in ends.refused]


def _pixels(record: Record) -> str:
    return "/".join(view["pixels"] for view in record["views"])


def _paired(singles: list[Record], ends: Ends) -> list[Record]:
    """Returns scans of files of one view each: pairs first, then what stays alone."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in singles:
        view = record["views"][0]
        groups.setdefault((*view["shape"], *view["mm"]), []).append(record)
    scans = []
    for group in groups.values():
        told = _told(group)
        fronts = [record for record in group if told[record["file"]][0] == "anterior"]
        backs = [record for record in group if told[record["file"]][0] == "posterior"]
        unknown = [record for record in group if not told[record["file"]][0]]
        ends.refuse(
            unknown, "views_unclear", "a file of one view, and nothing tells which: no view code, text or detector.",
            "Name the views by hand, one file per view.",
        )  # fmt: skip
        scans += _matched(fronts, backs, told, ends)
    return scans


def _told(group: list[Record]) -> dict[str, tuple[str, str]]:
    """Returns view and evidence of each file: code, text, detector, or what is left beside a known one of two."""
    told = {}
    for record in group:
        view = record["views"][0]
        known = (view["view"], view["source"])
        if view["source"] == "frame_order":
            named = _OF_DETECTOR.get(record["detector"], "")
            known = (named, "detector" if named else "")
        told[record["file"]] = known
    unknown = [file for file, (view, _) in told.items() if not view]
    if len(group) == 2 and len(unknown) == 1:
        (other,) = (view for view, _ in told.values() if view)
        told[unknown[0]] = ("posterior" if other == "anterior" else "anterior", "elimination")
    return told


def _matched(fronts: list[Record], backs: list[Record], told: dict[str, tuple[str, str]], ends: Ends) -> list[Record]:
    """Pairs each anterior view with the posterior view nearest in time; one that two others claim stays unpaired."""
    scans, free = [], list(backs)
    for front in sorted(fronts, key=lambda record: record["when"]):
        near = sorted((apart, at) for at, back in enumerate(free) if (apart := _apart(front, back)) <= MAX_APART_MIN)
        best = [free[at] for apart, at in near if apart == near[0][0]]
        same = [back for back in best if back["series"] == front["series"]]
        best = same if len(best) > 1 and len(same) == 1 else best
        if len(best) > 1:
            ends.refuse(
                [front, *best], "views_unclear", "two posterior views fit one anterior view equally well.",
                "Name the views by hand, one file per view.",
            )  # fmt: skip
            free = [back for back in free if back not in best]
            continue
        free = [back for back in free if back not in best]
        scans.append(_of_singles([front, *best], told))
    return scans + [_of_singles([back], told) for back in free]


def _apart(a: Record, b: Record) -> float:
    """Returns the minutes between two acquisitions; 0 where a time is unknown."""
    if not a["when"] or not b["when"]:
        return 0.0
    return abs((datetime.fromisoformat(a["when"]) - datetime.fromisoformat(b["when"])).total_seconds()) / 60


def _of_singles(records: list[Record], told: dict[str, tuple[str, str]]) -> Record:
    """Joins files of one view each, under the views that were told."""
    named = []
    for record in records:
        view, source = told[record["file"]]
        named.append((record["views"][0] | {"view": view, "source": source}, record))
    return _joined(named)


def _joined(views: list[tuple[Record, Record]]) -> Record:
    """Returns a scan: the facts of its first file, and its views by name."""
    views = sorted(views, key=lambda pair: VIEWS.index(pair[0]["view"]))
    records = list({record["file"]: record for _, record in views}.values())
    by_name = {view["view"]: view for view, _ in views}
    notes = [note for record in records for note in record["notes"] if not note.startswith("no view code")]
    outlines = [by_name[name]["outline"] if name in by_name else "" for name in VIEWS]
    return records[0] | {
        "views": by_name,
        "records": records,
        "notes": list(dict.fromkeys(notes)),
        "posterior_mirrored": posterior_mirrored(outlines[0], outlines[1]),
    }


def _same_views(scan: Record, ends: Ends) -> bool:
    """Sets a scan aside whose views are one image twice."""
    pixels = [view["pixels"] for view in scan["views"].values()]
    same = len(pixels) == 2 and pixels[0] == pixels[1]
    if same:
        reason = "both views have the same pixels."
        ends.refuse(scan["records"], "same_views", reason, "Export the study again.")
    return same
