"""Readings: the log of image review, a CSV that only grows, and what it says now.

Each click is one line, on disk before the next picture is shown. Nothing is ever changed or taken out: an undo is a
line of its own. A line cut short by a crash is told of and passed over; the lines before and after it count.
"""

from __future__ import annotations

import csv
import io
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from bonescan_utils.files import defuse, parse_csv, safe_text
from bonescan_utils.labelling.reports import LabelError

LOG = "review/readings.csv"
"""The log of a cohort, beside its manifest."""
LOG_COLUMNS = ("time", "reader", "scan_id", "action", "reading", "regions", "undoes", "event")
READINGS = ("abnormal", "normal", "unsure")
REGIONS = ("skull", "spine", "ribs", "sternum", "shoulder girdle", "arms", "pelvis", "legs")
ACTIONS = ("mark", "read", "adjudicate", "undo")
"""Lesion regions marked; a scan read; a disagreement settled; an earlier event taken back."""

_READER = re.compile(r"[A-Za-z0-9_-]{1,32}")
_EVENT = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True)
class ReadingLog:
    """What a log holds.

    Attributes:
        events: All events in order, columns `LOG_COLUMNS`, text.
        torn: Lines cut short, which are passed over.
    """

    events: pd.DataFrame
    torn: int = 0

    @property
    def active(self) -> pd.DataFrame:
        """The events that stand: neither an undo nor undone."""
        undone = set(self.events["undoes"]) - {""}
        return self.events[(self.events["action"] != "undo") & ~self.events["event"].isin(undone)]

    def last_undoable(self, reader: str) -> pd.Series | None:
        """Returns the reader's latest event that stands, or None."""
        mine = self.active[self.active["reader"] == reader]
        return None if mine.empty else mine.iloc[-1]


def check_reader(reader: str) -> str:
    """Returns a reader's code name, or raises a LabelError."""
    if not _READER.fullmatch(reader):
        raise LabelError(
            f"reader {safe_text(reader, limit=40)!r}: expected a code name of 1 to 32 letters, digits, _ or -"
        )
    return reader


def append_event(
    path: str | Path, *, reader: str, scan_id: str, action: str, reading: str = "", regions: Sequence[str] = (),
    undoes: str = "",
) -> str:  # fmt: skip
    """Appends one event and flushes it to disk.

    Args:
        path: The log; it is made, readable to its owner only, if it does not exist.
        reader: Code name of the reader.
        scan_id: The scan.
        action: One of `ACTIONS`.
        reading: One of `READINGS`; '' for a mark or an undo.
        regions: Some of `REGIONS`.
        undoes: The event that an undo takes back.

    Returns:
        The name of the event, 12 hexadecimal digits.

    Raises:
        LabelError: A value is none of those named.
    """
    event = secrets.token_hex(6)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    row = [now, reader, scan_id, action, reading, ";".join(regions), undoes, event]
    faults = _row_faults(row)
    if faults:
        raise LabelError(f"{path}: {faults[0]}")
    _append(Path(path), ",".join(LOG_COLUMNS) + "\n", _line(row))
    return event


def _line(row: list[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow([defuse(cell) for cell in row])
    return stream.getvalue()


def _append(path: Path, header: str, line: str) -> None:
    """Writes a line in one call at the end of the file; a torn line before it is closed first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.lseek(descriptor, 0, os.SEEK_END)
        os.lseek(descriptor, max(0, size - 4096), os.SEEK_SET)
        last = os.read(descriptor, 4096).rsplit(b"\n", 1)[-1]
        before = header if not size else "" if not last else '"\n' if last.count(b'"') % 2 else "\n"
        os.write(descriptor, (before + line).encode("utf-8"))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_log(path: str | Path) -> ReadingLog:
    """Reads a log; one that does not exist yet has no events.

    Raises:
        LabelError: It is no log of readings, or a whole line of it says what cannot be.
        CsvError: It cannot be read at all.
    """
    if not Path(path).exists():
        return ReadingLog(pd.DataFrame(columns=pd.Index(LOG_COLUMNS), dtype="str"))
    table = parse_csv(path)
    if table.header != list(LOG_COLUMNS):
        raise LabelError(f"{path}, line 1: expected the columns {', '.join(LOG_COLUMNS)}; is it a log of readings?")
    whole = [(line, row) for line, row in zip(table.lines, table.rows, strict=True) if _EVENT.fullmatch(row[-1])]
    faults = [f"{path}, line {line}: {fault}" for line, row in whole for fault in _row_faults(row)]
    events = pd.DataFrame([row for _, row in whole], columns=pd.Index(LOG_COLUMNS), dtype="str")
    faults += [f"{path}: {fault}" for fault in _order_faults(events)]
    if faults:
        raise LabelError("\n".join(faults[:20]))
    return ReadingLog(events, len(table.rows) - len(whole) + len(table.faults))


def _row_faults(row: list[str]) -> list[str]:
    """Returns what is wrong with one event."""
    _, reader, scan_id, action, reading, regions, undoes, _ = row
    readings = READINGS if action in ("read", "adjudicate") else ("",)
    unknown = [name for name in regions.split(";") if name and name not in REGIONS]
    rules = {
        f"reader {safe_text(reader, limit=40)!r}; expected a code name": bool(_READER.fullmatch(reader)),
        f"scan_id {safe_text(scan_id, limit=40)!r}; expected an id": bool(scan_id) and scan_id.isprintable(),
        f"action {safe_text(action, limit=40)!r}; expected one of {', '.join(ACTIONS)}": action in ACTIONS,
        f"reading {safe_text(reading, limit=40)!r}; expected {' or '.join(readings) or 'none'}": reading in readings,
        f"region {safe_text(unknown, limit=40)}; expected some of {', '.join(REGIONS)}": not unknown,
        f"undoes {safe_text(undoes, limit=40)!r}; an undo, and nothing else, names an event": (
            bool(_EVENT.fullmatch(undoes)) if action == "undo" else undoes == ""
        ),
    }
    return [what for what, holds in rules.items() if not holds]


def _order_faults(events: pd.DataFrame) -> list[str]:
    """Returns what is wrong with events taken together: an event twice, an undo of what is not there."""
    faults = [f"event {name} occurs twice" for name in events["event"][events["event"].duplicated()]]
    known: dict[str, tuple[str, str]] = {}
    for reader, scan, action, undoes, event in events[["reader", "scan_id", "action", "undoes", "event"]].to_numpy():
        if action == "undo" and known.pop(undoes, None) != (reader, scan):
            faults.append(f"event {event} undoes {undoes}, which is no standing event of this reader and scan")
        elif action != "undo":
            known[event] = (reader, scan)
    return faults


# ---------------------------------------------------------------------------------------------- state
def current_readings(log: ReadingLog) -> pd.DataFrame:
    """Returns what each reader says of each scan now.

    Returns:
        `scan_id, reader, reading, regions, time`: the last reading that stands, ordered by scan and reader.
    """
    reads = log.active[log.active["action"] == "read"].drop_duplicates(["reader", "scan_id"], keep="last")
    columns = ["scan_id", "reader", "reading", "regions", "time"]
    return reads[columns].sort_values(["scan_id", "reader"], ignore_index=True)


def current_decisions(log: ReadingLog) -> pd.DataFrame:
    """Returns the last adjudication that stands of each scan: `scan_id, reader, reading, regions, time`."""
    decided = log.active[log.active["action"] == "adjudicate"].drop_duplicates("scan_id", keep="last")
    columns = ["scan_id", "reader", "reading", "regions", "time"]
    return decided[columns].sort_values("scan_id", ignore_index=True)


def reading_matrix(readings: pd.DataFrame) -> pd.DataFrame:
    """Returns one row per scan and one column per reader, '' where a reader has not read; the index is `scan_id`."""
    wide = readings.pivot(index="scan_id", columns="reader", values="reading")
    return wide.fillna("").rename_axis(columns=None)
