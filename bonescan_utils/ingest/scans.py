"""Scans: the scans that an ingest has made so far, on disk, so that memory stays flat however many there are."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

from bonescan_utils.ingest.table import manifest_row, scan_id_of

SHARED, COPY = "shared_pixels", "copy"
"""Faults of scans: the pixels of another patient's scan; those of another scan of the patient."""

_TABLES = """
DROP TABLE IF EXISTS scans;
DROP TABLE IF EXISTS pixels;
CREATE TABLE scans (
  scan_id TEXT PRIMARY KEY, patient TEXT, accession TEXT, number TEXT, moment TEXT, fault TEXT, row TEXT);
CREATE INDEX by_accession ON scans (accession);
CREATE INDEX by_number ON scans (number);
CREATE TABLE pixels (pixels TEXT PRIMARY KEY, patient TEXT, scan_id TEXT);
"""


class Known(NamedTuple):
    """What a report is linked to a scan by: its id, and the time of acquisition (ISO 8601, or '')."""

    scan_id: str
    moment: str


class Scans:
    """The scans of one ingest: rows of the manifest, and what reports find them by.

    Args:
        base: The database; scans of an earlier ingest in it are dropped.
    """

    def __init__(self, base: sqlite3.Connection) -> None:
        self._base = base
        base.executescript(_TABLES)

    def add(self, scan: dict[str, Any], day: int | None) -> None:
        """Adds a scan, and looks whether its pixels were seen in another one."""
        scan_id, patient = scan_id_of(scan), scan["patient"]
        told = (scan_id, patient, scan["accession"], scan["patient_number"], scan["when"])
        row = json.dumps(manifest_row(scan, day))
        self._base.execute("INSERT INTO scans VALUES (?, ?, ?, ?, ?, NULL, ?)", (*told, row))
        for view in scan["views"].values():
            self._base.execute("INSERT OR IGNORE INTO pixels VALUES (?, ?, ?)", (view["pixels"], patient, scan_id))
            found = self._base.execute("SELECT patient, scan_id FROM pixels WHERE pixels = ?", (view["pixels"],))
            first, other = found.fetchone()
            if first != patient:
                self._base.execute("UPDATE scans SET fault = ? WHERE scan_id IN (?, ?)", (SHARED, scan_id, other))
            elif other != scan_id:
                self._base.execute("UPDATE scans SET fault = COALESCE(fault, ?) WHERE scan_id = ?", (COPY, scan_id))

    def drop_faulty(self) -> None:
        """Leaves the scans without a fault."""
        self._base.execute("DELETE FROM scans WHERE fault IS NOT NULL")

    def with_accession(self, accession: str) -> list[Known]:
        """Returns the scans of an accession number's pseudonym, in the order of ids."""
        return self._known("accession", accession)

    def with_number(self, number: str) -> list[Known]:
        """Returns the scans of a patient number's pseudonym, in the order of ids."""
        return self._known("number", number)

    def _known(self, column: str, value: str) -> list[Known]:
        rows = self._base.execute(f"SELECT scan_id, moment FROM scans WHERE {column} = ? ORDER BY scan_id", (value,))
        return [Known(*row) for row in rows]

    def put(self, scan_id: str, cells: dict[str, Any]) -> None:
        """Puts cells into the row of a scan."""
        (text,) = self._base.execute("SELECT row FROM scans WHERE scan_id = ?", (scan_id,)).fetchone()
        row = json.dumps(json.loads(text) | cells)
        self._base.execute("UPDATE scans SET row = ? WHERE scan_id = ?", (row, scan_id))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Gives the rows of the manifest in the order of scan ids."""
        for (text,) in self._base.execute("SELECT row FROM scans ORDER BY scan_id"):
            yield json.loads(text)

    def counts(self) -> tuple[int, int]:
        """Returns the numbers of scans and of patients."""
        n, patients = self._base.execute("SELECT COUNT(*), COUNT(DISTINCT patient) FROM scans").fetchone()
        return int(n), int(patients)
